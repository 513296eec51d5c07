"""Three ways to train instead of thirty fields, fitted to the size of the model and the number of pairs. No torch."""

import math
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.models import Facts
from rm_studio.training import checks
from rm_studio.training.config import TrainConfig
from rm_studio.training.device import TOKENS_AT_ONCE, Device

BILLION = 1e9
BYTES_A_WEIGHT = 18  # weight, gradient and two moments in float32, and a copy in bfloat16
WORKING_GB = 1.5  # the program itself, and activations of one part
USED_OF_PEAK = 0.45  # of what products of matrices reach on this machine


class Preset(NamedTuple):
    """A name, one line on what it is for, and the settings it stands for."""

    name: str
    purpose: str
    config: TrainConfig


class Outlook(NamedTuple):
    """What a run will take, before anything was tried: seconds, bytes, tokens."""

    seconds: float
    memory: float
    tokens: float


def presets(base_model: str, facts: Facts | None, pairs: pd.DataFrame, device: Device | None) -> list[Preset]:
    """Quick look, Balanced and Best for this model, these pairs and this machine.

    Learning rates: 1e-5 for 0.5 billion weights and 1e-4 with LoRA are TRL's; 1e-5, 5e-6 and 2e-6 for 2, 7 and 8
    billion are RLHFlow's; those of smaller models and of the head alone were measured here.
    """
    n = len(pairs)
    asked = checks.asks(pairs)
    size = facts.parameters if facts else 0
    limit = min(facts.positions if facts else 512, 2048 if size > 0.3 * BILLION else 512)
    common: dict[str, Any] = {"base_model": base_model, "max_length": limit, **asked}
    batch = 16 if n < 5_000 else 32 if n < 50_000 else 64
    room = device.memory if device else 8 * BILLION
    # Of what size is not known, least is asked: it may be one of billions of weights.
    full = facts is not None and size * BYTES_A_WEIGHT + WORKING_GB * BILLION < 0.8 * room
    method = {"method": "full", "learning_rate": learning_rate(size, n)} if full else {
        "method": "lora", "learning_rate": 1e-4, "gradient_checkpointing": size > BILLION
    }  # fmt: skip
    learned = "all weights learn" if full else "LoRA: small added matrices learn"
    return [
        Preset(
            "Quick look",
            "Only the scoring head learns: a first impression of the data, not a model to keep.",
            TrainConfig(**common, method="head", learning_rate=1e-3, batch_size=16, epochs=1),
        ),
        Preset("Balanced", f"One pass over the pairs; {learned}.", TrainConfig(**common, **method, batch_size=batch)),
        Preset(
            "Best",
            "Two passes; the model with the lowest held-out loss is kept, and it stops early when that no longer "
            f"falls; {learned}.",
            TrainConfig(
                **common, **method, batch_size=batch, epochs=2, schedule="cosine", early_stopping=4, keep_best=True
            ),
        ),
    ]


def learning_rate(parameters: float, n_pairs: int) -> float:
    """A learning rate for training all weights."""
    steps = [(0.05, 2e-4 if n_pairs < 1_000 else 1e-4), (0.2, 5e-5), (0.4, 2e-5), (3, 1e-5), (7.5, 5e-6)]
    return next((rate for billions, rate in steps if parameters < billions * BILLION), 2e-6)


def outlook(config: TrainConfig, facts: Facts, pairs: pd.DataFrame, device: Device) -> Outlook:
    """A rough estimate from the sizes alone; a check measures instead.

    A token costs 2 multiplications a weight forward and 4 backward (Kaplan et al. 2020); without gradients for the
    weights, as with LoRA, 2 of the 4 fall away, and for the head alone all.
    """
    letters = 2 * pairs["prompt"].str.len() + pairs["chosen"].str.len() + pairs["rejected"].str.len()
    tokens = float((letters / 4).clip(upper=2 * config.max_length).sum()) * (1 - config.test_share)
    passes = {"full": 6, "lora": 4, "qlora": 4, "head": 2}[config.method]
    work = tokens * config.epochs * passes * facts.in_layers
    measuring = 0.3 * tokens * 2 * facts.in_layers
    seconds = (work + measuring) / (device.gflops * 1e9 * USED_OF_PEAK) + 15
    learning = facts.parameters * {"full": 14, "lora": 0.3, "qlora": 0.3, "head": 0.1}[config.method]
    weights = facts.parameters * {"full": 4, "lora": 4, "qlora": 0.7, "head": 4}[config.method]
    at_once = config.tokens_at_once or TOKENS_AT_ONCE[device.kind]
    together = min(at_once, tokens / max(1, len(pairs)) * config.batch_size)
    kept = 34 * facts.hidden * facts.layers * together  # bytes a token and layer: Korthikanti et al. 2022
    memory = weights + learning + (kept if config.method != "head" else 0) + 0.7e9
    return Outlook(seconds, memory, tokens * config.epochs)


def steps_of(config: TrainConfig, n_pairs: int) -> int:
    """About how many corrections the run makes."""
    return max(1, math.ceil(n_pairs * (1 - config.test_share) / config.batch_size * config.epochs))
