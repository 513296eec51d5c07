"""Score text with a trained reward model. torch is imported on first use."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rm_studio import models
from rm_studio.encoding import Encoded, TextFormat, choose_format, encode, read_format

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_A_BATCH = 8192
DEFAULT_MAX_LENGTH = 512

Floats = npt.NDArray[np.float32]


class Scores(NamedTuple):
    """One score a text (no unit: only differences on the same prompt mean something), and which were shortened."""

    values: Floats
    shortened: list[bool]


class RewardModel:
    """A model that gives an answer to a prompt one number: the higher, the better it expects people to like it."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", text_format: TextFormat) -> None:
        self.model = model
        self.model.train(False)
        self.tokenizer = tokenizer
        self.text_format = text_format

    def encode(self, prompts: Sequence[str], answers: Sequence[str]) -> Encoded:
        return encode(self.tokenizer, self.text_format, prompts, answers)

    def score(
        self,
        prompts: Sequence[str],
        answers: Sequence[str],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Scores:
        """Score each answer to the prompt at the same place."""
        encoded = self.encode(prompts, answers)
        values = score_ids(self.model, encoded.ids, self.tokenizer.pad_token_id, on_progress)
        cut = [prompt or answer for prompt, answer in zip(encoded.prompt_cut, encoded.answer_cut, strict=True)]
        return Scores(values, cut)


def load_reward_model(name: str | Path) -> RewardModel:
    """Open a reward model: a run's ``model`` folder, any folder, or a name on the Hub.

    Raises:
        ModelError, HubError: see `models.load`.
    """
    models.quiet()
    loaded = models.load(str(name), for_training=False)
    text_format = read_format(loaded.folder) or choose_format(loaded.tokenizer, loaded.model.config, DEFAULT_MAX_LENGTH)
    model: Any = loaded.model
    return RewardModel(model.to(best_device()), loaded.tokenizer, text_format)


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``: the fastest that this machine has."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def score_ids(
    model: "PreTrainedModel",
    ids: Sequence[list[int]],
    pad_token_id: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Scores of token lists, in their order.

    Texts of like length share a batch, so that little is padding; a text that comes again is scored once.
    """
    import torch

    unique = list({tuple(tokens): None for tokens in ids})
    values = np.zeros(len(unique), dtype=np.float32)
    done = 0
    with torch.inference_mode():
        for batch in batches_by_length([len(tokens) for tokens in unique]):
            inputs = pad([unique[index] for index in batch], pad_token_id, model.device)
            values[batch] = model(**inputs).logits.squeeze(-1).float().cpu().numpy()
            done += len(batch)
            on_progress(done, len(unique))
    place = {tokens: index for index, tokens in enumerate(unique)}
    return values[[place[tuple(tokens)] for tokens in ids]]


def batches_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts, longest first, in batches whose padded size stays within ``TOKENS_A_BATCH``."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, TOKENS_A_BATCH // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def pad(ids: Sequence[Any], pad_token_id: int, device: "torch.device | str") -> dict[str, "torch.Tensor"]:
    """Token lists of different lengths as one batch: ``input_ids`` and ``attention_mask``, padded on the right."""
    import torch

    width = max(len(tokens) for tokens in ids)
    input_ids = torch.tensor([[*tokens, *[pad_token_id] * (width - len(tokens))] for tokens in ids])
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in ids])
    return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}
