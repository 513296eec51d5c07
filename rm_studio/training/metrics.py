"""``metrics.jsonl``: one line an event, only ever appended to.

A line is ``{"time", "step", "epoch", "split": "train" | "eval", ...}`` with TRL's own names for the rest (``loss``,
``accuracy``, ``margin``, ``mean_reward``, ``learning_rate``, ``grad_norm``, ``num_tokens``).
"""

import json
import os
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from rm_studio.workspace import atomic

Point = dict[str, Any]
MOST_POINTS = 600
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


class Course:
    """A run's metrics as they grow: each look reads only what was added, and what is kept never exceeds a few hundred
    points a split, so that a look costs the same at step 10 and at step 100,000.

    When a split has too many points, neighbours are put together: means of what was measured, the later step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._identity: tuple[int, int] | None = None
        self._points: dict[str, list[Point]] = {}
        self._lock = threading.Lock()  # several pages look at once

    def look(self) -> pd.DataFrame:
        """The points so far, one row each, with the columns of `read`."""
        with self._lock:
            return self._look()

    def _look(self) -> pd.DataFrame:
        if not self.path.exists():
            return pd.DataFrame(columns=COLUMNS)
        with self.path.open("rb") as file:
            about = os.fstat(file.fileno())
            identity = (about.st_dev, about.st_ino)
            if identity != self._identity or about.st_size < self._offset:  # a resumed run has begun a new file
                self._identity, self._offset, self._points = identity, 0, {}
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._offset += len(line)
                self._add(line)
        rows = [point for points in self._points.values() for point in points]
        return pd.DataFrame(rows, columns=None if rows else COLUMNS)

    def _add(self, line: bytes) -> None:
        try:
            point: Point = json.loads(line)
            points = self._points.setdefault(str(point["split"]), [])
        except (ValueError, KeyError, TypeError):
            return
        points.append(point)
        if len(points) > MOST_POINTS:
            both = zip(points[::2], points[1::2], strict=False)
            self._points[point["split"]] = [_joined(one, other) for one, other in both] + points[len(points) // 2 * 2 :]


def _joined(one: Point, other: Point) -> Point:
    """Two neighbouring points as one."""
    middle = {
        name: (one[name] + value) / 2
        for name, value in other.items()
        if isinstance(value, int | float) and isinstance(one.get(name), int | float)
    }
    return {**other, **middle, "time": other["time"], "step": other["step"], "epoch": other["epoch"]}


@lru_cache(maxsize=64)
def course(path: Path) -> Course:
    """The one `Course` that this process keeps of a file."""
    return Course(path)


def forget_after(path: Path, step: int) -> None:
    """Drop the lines after ``step``: a run that goes on from there writes them again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step(line) <= step]
    with atomic(path) as file:
        file.write("".join(f"{line}\n" for line in kept).encode())


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
