"""Simulated annotators for the sample project. No person gave this feedback, and every page that shows it says so.

``python -m rm_studio.simulation`` writes ``assets/sample/feedback.jsonl`` again, byte for byte the same.

The sample's authors ranked its answers (helpful, thin, wrong, poor). Three habits look at that ranking through
different glasses: one careful, one who likes long answers, one hurried.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import pandas as pd

from rm_studio import assets, tables
from rm_studio.config import ColumnMapping
from rm_studio.data import SAMPLE_ANSWERS, build_comparisons
from rm_studio.preferences import FEEDBACK_COLUMNS
from rm_studio.workspace import atomic, rows

SEED = 42
MAPPING = ColumnMapping(prompt="prompt", answers=SAMPLE_ANSWERS, category="category")
FEEDBACK_FILE = "sample/feedback.jsonl"
SHIPPED = ["id", "annotator", "status", "ranks", "strength", "position_chosen", "submitted_at"]

Habit = Callable[[dict[str, Any], random.Random], int | None]


def careful(comparison: dict[str, Any], chance: random.Random) -> int | None:
    """Reads everything: right 19 times in 20, and discards rather than guess now and then."""
    if chance.random() < 0.03:
        return None
    better = _better(comparison)
    return better if chance.random() < 0.95 else 1 - better


def likes_long(comparison: dict[str, Any], chance: random.Random) -> int | None:
    """Is drawn to the longer answer when neither is clearly bad."""
    lengths = [len(text) for text in comparison["responses"]]
    longer = 0 if lengths[0] > lengths[1] else 1
    clear = "poor" in comparison["sources"] and chance.random() < 0.8
    return _better(comparison) if clear or chance.random() < 0.55 else longer


def hurried(comparison: dict[str, Any], chance: random.Random) -> int | None:
    """Skips a fifth, leans to whatever stands first, and is right two times in three otherwise."""
    draw = chance.random()
    if draw < 0.2:
        return None
    if draw < 0.35:
        return int(comparison["order"][0])
    better = _better(comparison)
    return better if chance.random() < 0.75 else 1 - better


HABITS: dict[str, Habit] = {
    "Ada (simulated, careful)": careful,
    "Ben (simulated, likes long answers)": likes_long,
    "Cleo (simulated, hurried)": hurried,
}


def simulate(comparisons: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Feedback of all three on the sample's comparisons."""
    given: list[dict[str, Any]] = []
    for annotator, habit in HABITS.items():
        chance = random.Random(f"{seed}:{annotator}")
        for comparison in rows(comparisons):
            winner = habit(comparison, chance)
            submitted = winner is not None
            ranks = [1 if place == winner else 2 for place in range(2)] if submitted else []
            given.append(
                {
                    "id": comparison["id"],
                    "annotator": annotator,
                    "status": "submitted" if submitted else "discarded",
                    "ranks": ranks,
                    "position_chosen": list(comparison["order"]).index(winner) + 1 if submitted else None,
                }
            )
    return pd.DataFrame(given, columns=FEEDBACK_COLUMNS)


def sample_comparisons() -> pd.DataFrame:
    """The comparisons of the sample as shipped: every pair of the four answers to each prompt."""
    return build_comparisons(tables.read_sample().frame, MAPPING, SEED).frame


def sample_feedback() -> pd.DataFrame:
    """The simulated feedback as shipped."""
    lines = assets.path(FEEDBACK_FILE).read_text(encoding="utf-8").splitlines()
    return pd.DataFrame([json.loads(line) for line in lines], columns=FEEDBACK_COLUMNS)


def is_simulated(annotator: str) -> bool:
    """Whether this annotator is one of ours rather than a person."""
    return annotator in HABITS


def _better(comparison: dict[str, Any]) -> int:
    first, second = (SAMPLE_ANSWERS.index(source) for source in comparison["sources"])
    return 0 if first < second else 1


def main() -> None:
    feedback = simulate(sample_comparisons())
    with atomic(assets.path("sample/prompts.jsonl").with_name("feedback.jsonl")) as file:
        for row in rows(feedback[SHIPPED]):
            position = None if pd.isna(row["position_chosen"]) else int(row["position_chosen"])
            file.write(json.dumps({**row, "position_chosen": position}, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
