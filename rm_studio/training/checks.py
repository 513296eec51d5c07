"""What can be told about a run before it starts: from the pairs alone, and together with what a trial of it measured.

No torch here; `preflight` is the program that tries.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from rm_studio.errors import DataError
from rm_studio.evaluation import FEW_PAIRS
from rm_studio.preferences import split_by_prompt, wilson
from rm_studio.settings import Frozen
from rm_studio.training.config import TrainConfig

LONGER_WINS_TOO_OFTEN = 0.8
TIGHT = 0.85  # of the memory there is


class Finding(Frozen):
    """One thing to know before the start; ``block`` means that the run could not succeed."""

    level: Literal["block", "warn", "good"]
    text: str
    passing: bool = False  # it may be otherwise by the time the run begins


class Trial(Frozen):
    """What a few real steps showed. Memory in bytes, times in seconds.

    ``memory`` is estimated from the weights, the optimizer and the activations at the real lengths.
    """

    n_train: int
    n_test: int
    left_out: int
    shortened: int
    max_length: int
    parameters: int
    learning: int
    steps: int
    seconds: float
    pairs_per_s: float
    memory: int
    memory_there: int
    memory_of_others: int = 0
    device: str
    disk: int


class Check(Frozen):
    """The outcome of a check: for which settings and pairs, what was found, and the trial unless it failed."""

    key: str
    findings: tuple[Finding, ...] = ()
    trial: Trial | None = None

    @property
    def blocked(self) -> bool:
        return any(finding.level == "block" for finding in self.findings)


def of_pairs(pairs: pd.DataFrame, config: TrainConfig) -> list[Finding]:
    """What the pairs themselves say (``prompt``, ``chosen``, ``rejected``)."""
    try:
        split = split_by_prompt(pairs, config.test_share, config.seed)
    except DataError as error:
        return [Finding(level="block", text=str(error))]
    found = []
    n_learned, n = (len(part[part["p_chosen"] != 0.5]) if "p_chosen" in part else len(part) for part in split)
    if config.learn_ties:
        n_learned = len(split.train)
    interval = wilson(0.75 * n, n)
    if n < FEW_PAIRS:
        text = (
            f"Only {n} pairs are held out: an accuracy of 75 % on them could be anything from {interval.low:.0%} to "
            f"{interval.high:.0%}. Annotate more, or hold out more, before you rely on the score."
        )
        found.append(Finding(level="warn", text=text))
    else:
        text = f"{n_learned:,} pairs to learn from, {n:,} of other prompts to measure on."
        found.append(Finding(level="good", text=text))
    same = int((pairs["chosen"] == pairs["rejected"]).sum())
    if same:
        text = f"{same:,} pairs have two identical answers: nothing can be learned from them, and they are left out."
        found.append(Finding(level="warn", text=text))
    twice = int(pairs.duplicated(["prompt", "chosen", "rejected"]).sum())
    if twice:
        found.append(
            Finding(level="warn", text=f"{twice:,} pairs are there more than once, and count more than others.")
        )
    against = contradictions(pairs)
    if against:
        text = (
            f"{against:,} pairs contradict another one: the same two answers, judged the other way round. Let more "
            "people answer these, or turn on “Learn from doubt”."
        )
        found.append(Finding(level="warn", text=text))
    lengths = pairs["chosen"].str.len() - pairs["rejected"].str.len()
    longer = float((lengths > 0).mean() + 0.5 * (lengths == 0).mean())
    for share, kind in ((longer, "longer"), (1 - longer, "shorter")):
        if share >= LONGER_WINS_TOO_OFTEN:
            text = (
                f"The {kind} answer wins in {share:.0%} of the pairs. A model can reach that by length alone; add "
                "pairs "
                f"in which the {kind} answer is the worse one."
            )
            found.append(Finding(level="warn", text=text))
    return found


def contradictions(pairs: pd.DataFrame) -> int:
    """How many pairs have their mirror image among the pairs."""
    keys = set(zip(pairs["prompt"], pairs["chosen"], pairs["rejected"], strict=True))
    return sum((prompt, rejected, chosen) in keys for prompt, chosen, rejected in keys if chosen != rejected)


def of_trial(trial: Trial, config: TrainConfig) -> list[Finding]:
    """What the trial, which is made on one card, adds: lengths and memory."""
    found = []
    n = trial.n_train + trial.n_test + trial.left_out
    if trial.left_out:
        text = (
            f"{trial.left_out:,} of {n:,} pairs are left out: one of their answers alone is longer than the "
            f"{trial.max_length:,} tokens that the model reads here. An answer’s end is never cut."
        )
        found.append(Finding(level="warn", text=text))
    if trial.shortened:
        text = (
            f"{trial.shortened:,} pairs lose the beginning of their prompt: together with the answer it is longer than "
            f"{trial.max_length:,} tokens."
        )
        found.append(Finding(level="warn", text=text))
    memory = of_memory(trial)
    if memory.level == "block" and config.sharding != "copies" and config.processes * config.nodes > 1:
        text = f"On one card it would take {trial.memory / 1e9:.1f} GB; spread over several, each takes a part of that."
        memory = Finding(level="warn", text=text)
    found.append(memory)
    if trial.memory_of_others > 0.1 * trial.memory_there:
        whose = "this machine’s" if trial.device == "cpu" else "the card’s"
        text = f"Other programs use {trial.memory_of_others / 1e9:.1f} GB of {whose} memory."
        found.append(Finding(level="warn", text=text))
    return found


def of_memory(trial: Trial) -> Finding:
    """Fits, tight, or does not fit."""
    share = trial.memory / max(1, trial.memory_there - trial.memory_of_others)
    figures = f"about {trial.memory / 1e9:.1f} GB of {trial.memory_there / 1e9:.0f} GB"
    if share > 1:
        text = f"It does not fit into memory ({figures}). Choose LoRA, a smaller model, or a shorter maximum length."
        return Finding(level="block", text=text, passing=trial.memory_of_others > 0.1 * trial.memory_there)
    if share > TIGHT:
        return Finding(level="warn", text=f"Memory will be tight ({figures}). Close other programs first.")
    return Finding(level="good", text=f"It fits into memory ({figures}).")


def of_disk(folder: Path, needed: int) -> list[Finding]:
    """Whether the model, its checkpoint, the best one and the next checkpoint fit on the disk (bytes)."""
    free = shutil.disk_usage(folder).free
    if free > needed:
        return []
    text = (
        f"The disk has {free / 1e9:.1f} GB free and the run needs about {needed / 1e9:.1f} GB. Free some space first."
    )
    return [Finding(level="block", text=text)]


def asks(pairs: pd.DataFrame) -> dict[str, Any]:
    """The settings that the pairs themselves ask for: doubt where people disagreed, strength and ties where given."""
    p_chosen = pairs["p_chosen"].dropna() if "p_chosen" in pairs else pd.Series(dtype=float)
    if ((p_chosen > 0.5) & (p_chosen < 1)).mean() > 0.05:
        return {"soft_labels": True}
    strength = "strength" in pairs and pairs["strength"].notna().any()
    return {"use_strength": bool(strength), "learn_ties": bool((p_chosen == 0.5).any())}
