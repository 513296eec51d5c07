"""The README of a trained model's folder. No torch."""

from pathlib import Path
from typing import Any

from rm_studio import evaluation
from rm_studio.training.config import TrainConfig


def model_card(config: TrainConfig, result: dict[str, Any]) -> str:
    """The README of the model folder."""
    base = Path(config.base_model).name if Path(config.base_model).is_absolute() else config.base_model
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, rm-studio, trl]
---
# A reward model made with RM Studio

It gives an answer to a prompt one number: the higher, the better it expects people to like it. Only differences
between answers to the same prompt mean something; negative numbers are normal.

- Base model: {base}
- Learned from {result["n_train_pairs"]:,} preference pairs, measured on {result["n_pairs"]:,} pairs of other prompts
- {evaluation.reading(result)}
- Longest text: {result["max_length"]} tokens; longer prompts lose their beginning

Settings: `{config.model_dump_json(exclude={"base_model"})}`
"""
