"""RM Studio: from prompts and answers to a reward model you can trust.

The few public functions are loaded on first use, so that ``import rm_studio`` stays light:

- :func:`rm_studio.load_reward_model`: open a trained model folder and score text.
- :func:`rm_studio.train`: train a reward model from a table of preference pairs.
- :func:`rm_studio.evaluate`: measure a reward model on pairs with known preferences.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["StudioError", "evaluate", "load_reward_model", "train"]

if TYPE_CHECKING:
    from rm_studio.errors import StudioError
    from rm_studio.evaluation import evaluate_model as evaluate
    from rm_studio.scoring import load_reward_model
    from rm_studio.training.runs import train


def __getattr__(name: str) -> Any:
    if name == "StudioError":
        from rm_studio.errors import StudioError

        return StudioError
    if name == "evaluate":
        from rm_studio.evaluation import evaluate_model

        return evaluate_model
    if name == "load_reward_model":
        from rm_studio.scoring import load_reward_model

        return load_reward_model
    if name == "train":
        from rm_studio.training.runs import train

        return train
    raise AttributeError(f"module 'rm_studio' has no attribute {name!r}")
