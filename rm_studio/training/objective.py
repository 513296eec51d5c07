"""What a reward model is asked to do with a pair, as a loss. Only the worker imports this.

With ``m`` the margin, score of the chosen answer minus score of the rejected one:

- plain: ``-log σ(m)`` (Bradley and Terry 1952; Ouyang et al. 2022)
- strength: ``-log σ(m - strength)`` (Touvron et al. 2023, Llama 2, equation 2)
- label smoothing ε: ``-(1 - ε) log σ(m) - ε log σ(-m)``
- soft labels: ``-p log σ(m) - (1 - p) log σ(-m)``, p the share of annotators who chose the chosen answer
- ties (Rao and Kupper 1967; Liu et al. 2024, arXiv 2410.05328): a win has probability ``σ(m - a)``, a tie the rest,
  ``(e^2a - 1) σ(m - a) σ(-m - a)``. ``a`` is set so that equal scores tie as often as the training pairs do.
- centering: plus ``c (score of chosen + score of rejected)²`` (Eisenstein et al. 2023)
"""

import math
from typing import NamedTuple

import torch
from torch.nn.functional import softplus

from rm_studio.training.config import TrainConfig


class Objective(NamedTuple):
    """The loss of a run; a pair is a tie when its ``p_chosen`` is ½."""

    soft_labels: bool
    use_strength: bool
    smoothing: float
    centering: float
    tie_width: float  # a above; 0 where ties are not learned from

    @classmethod
    def of(cls, config: TrainConfig, tie_share: float) -> "Objective":
        """The loss that the settings ask for, ``tie_share`` of the training pairs being ties (0 … 1)."""
        share = min(tie_share, 0.95)
        # With equal scores P(tie) = (e^a - 1) / (e^a + 1).
        width = math.log((1 + share) / (1 - share)) if config.learn_ties else 0.0
        return cls(config.soft_labels, config.use_strength, config.label_smoothing, config.centering, width)

    def losses(
        self, chosen: torch.Tensor, rejected: torch.Tensor, p_chosen: torch.Tensor, strength: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each pair; all four are float32 of shape (pairs,)."""
        margin = chosen - rejected
        if self.soft_labels:
            result = p_chosen * softplus(-margin) + (1 - p_chosen) * softplus(margin)
        else:
            wanted = margin - self.tie_width - (strength if self.use_strength else 0.0)
            result = (1 - self.smoothing) * softplus(-wanted) + self.smoothing * softplus(wanted)
            if self.tie_width:
                a = self.tie_width
                tie = softplus(a - margin) + softplus(a + margin) - math.log(math.expm1(2 * a))
                result = torch.where(p_chosen == 0.5, tie, result)
        return result + self.centering * (chosen + rejected) ** 2
