"""``metrics.jsonl``: one line an event, only ever appended to.

A line is ``{"time", "step", "epoch", "split": "train" | "eval", ...}`` with TRL's own names for the rest (``loss``,
``accuracy``, ``margin``, ``mean_reward``, ``learning_rate``, ``grad_norm``, ``num_tokens``).
"""

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ["time", "step", "epoch", "split", "loss", "accuracy", "margin"]


def append(path: Path, step: int, epoch: float, split: str, values: dict[str, float]) -> None:
    """Add one line; ``values`` are plain numbers."""
    line = {"time": time.time(), "step": step, "epoch": round(epoch, 4), "split": split, **values}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> pd.DataFrame:
    """All whole lines so far, one row each; a last line that is still being written waits for the next call."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return pd.DataFrame(rows, columns=None if rows else COLUMNS)


def forget_after(path: Path, step: int) -> None:
    """Drop the lines after ``step``: a run that goes on from there writes them again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step(line) <= step]
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    fresh.replace(path)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off by a kill


def tutorial_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The table that the Argilla tutorial shows: step, training loss, validation loss, accuracy.

    The training loss beside an evaluation is the last one logged up to its step.
    """
    names = ["Step", "Training loss", "Validation loss", "Accuracy"]
    if metrics.empty:
        return pd.DataFrame(columns=names)
    evaluations = metrics[metrics["split"] == "eval"]
    training = metrics[(metrics["split"] == "train") & metrics["loss"].notna()]
    rows = []
    for _, line in evaluations.iterrows():
        before = training.loc[training["step"] <= line["step"], "loss"]
        rows.append([int(line["step"]), before.iloc[-1] if len(before) else None, line["loss"], line["accuracy"]])
    return pd.DataFrame(rows, columns=names)
