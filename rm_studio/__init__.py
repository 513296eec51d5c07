"""RM Studio: from prompts and answers to a reward model you can trust.

The few public functions are loaded on first use, so that ``import rm_studio`` stays light:

- `load_reward_model`: open a trained model folder and score text.
- `train`: train a reward model from a table of preference pairs.
- `evaluate_model`: measure a reward model on pairs with known preferences.
- `StudioError`: what they raise, with a sentence that can be shown to a person.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["StudioError", "evaluate_model", "load_reward_model", "train"]

if TYPE_CHECKING:
    from rm_studio.errors import StudioError
    from rm_studio.evaluation import evaluate_model
    from rm_studio.scoring import load_reward_model
    from rm_studio.training.queue import train

_MODULES = {
    "StudioError": "rm_studio.errors",
    "evaluate_model": "rm_studio.evaluation",
    "load_reward_model": "rm_studio.scoring",
    "train": "rm_studio.training.queue",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rm_studio' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
