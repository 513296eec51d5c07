"""Where a run can go on from: whole checkpoints only, the newest first.

A checkpoint is written under ``checkpoints/unfinished/`` and renamed when it is whole, so that a kill in the middle
leaves none that looks whole. They are looked into nevertheless: a disk can lose what it has taken.
"""

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from rm_studio.errors import TrainingError

UNFINISHED = "unfinished"
BEST = "best"
NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def step_of(checkpoint: Path) -> int:
    """The step that it was made after."""
    return int(checkpoint.name.rpartition("-")[2])


def every(folder: Path) -> list[Path]:
    """All checkpoints in a run's ``checkpoints`` folder, whole or not, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=step_of, reverse=True)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that training can go on from, or None."""
    return next((path for path in every(folder) if is_whole(path)), None)


def is_whole(checkpoint: Path) -> bool:
    """Whether the weights' lengths are those that their headers name, the trainer's state parses, and an optimizer
    is there. One made by several processes in parts has a folder for each of the two instead."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        if state["global_step"] != step_of(checkpoint):
            return False
        if any(checkpoint.glob("pytorch_model_fsdp*")):
            needed = [
                *checkpoint.glob("pytorch_model_fsdp*"),
                *checkpoint.glob("optimizer*"),
                checkpoint / "scheduler.pt",
            ]
            return len(needed) > 2 and all(size_bytes(path) for path in needed)
        if any(checkpoint.glob("global_step*")):  # DeepSpeed
            return (checkpoint / "latest").exists()
        if any((checkpoint / name).stat().st_size == 0 for name in NEEDED):
            return False
        weights = list(checkpoint.glob("*.safetensors"))
        return bool(weights) and all(map(_is_whole_safetensors, weights))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole_safetensors(file: Path) -> bool:
    """By the format: eight bytes with the header's length, the header, and data up to the last offset."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return bool(file.stat().st_size == 8 + length + end)


def finish(unfinished: Path, folder: Path) -> Path:
    """Move a checkpoint that is now whole to its place, and remove those before it."""
    for file in unfinished.rglob("*"):
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
    place = folder / unfinished.name
    if place.exists():
        shutil.rmtree(place)
    unfinished.replace(place)
    shutil.rmtree(unfinished.parent, ignore_errors=True)
    for older in every(folder):
        if older != place:
            shutil.rmtree(older, ignore_errors=True)
    return place


def require_space(folder: Path) -> None:
    """Make sure that one more checkpoint as large as the last fits on the disk.

    Raises:
        TrainingError: it does not.
    """
    last = next(iter(every(folder)), None)
    needed = size_bytes(last) if last else 0
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free < needed:
        raise TrainingError(
            f"The disk is almost full: the next checkpoint needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are "
            f"free. The one after step {step_of(last) if last else 0} is whole. Free some space and press “Go on”."
        )


def size_bytes(path: Path | None) -> int:
    """How much room a file or a folder takes; what vanishes meanwhile takes none."""
    if path is None:
        return 0
    files = [path] if path.is_file() else [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return total
