"""How long annotating takes, and who can be relied on: the plan before it begins, and what was measured since."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock

from rm_studio import questions
from rm_studio.config import Question
from rm_studio.preferences import ballot_on
from rm_studio.workspace import Project, read_json, rows, write_json

WORDS_A_MINUTE = 238  # silent reading of English non-fiction (Brysbaert 2019, J. of Memory and Language 109:104047)
SECONDS_A_CONTROL = 6  # to decide and to click: our own estimate
LONGEST_GAP_S = 600  # between two answers; longer is a break
FEWEST_GAPS = 20  # before a measured pace is believed


class Plan(NamedTuple):
    """``n`` comparisons, each answered by ``people``; ``seconds`` for one, measured or estimated."""

    n: int
    people: int
    seconds: float
    is_measured: bool

    @property
    def hours_each(self) -> float:
        """With as many people as answers are wanted: everybody answers everything."""
        return self.n * self.seconds / 3600

    @property
    def in_words(self) -> str:
        each = f"{self.hours_each:.0f} h" if self.hours_each >= 2 else f"{self.hours_each * 60:.0f} min"
        people = f"{self.people} people" if self.people > 1 else "1 person"
        how = (
            f"at the measured pace of {self.seconds:.0f} s a comparison"
            if self.is_measured
            else f"about {self.seconds:.0f} s a comparison: its words at {WORDS_A_MINUTE} a minute (Brysbaert 2019), "
            f"and {SECONDS_A_CONTROL} s to decide on each question"
        )
        return f"{self.n:,} comparisons × {people} ≈ {each} each ({how})."


def plan(comparisons: pd.DataFrame, question: Question, feedback: pd.DataFrame | None = None) -> Plan:
    """What annotating these comparisons takes; by the pace of ``feedback`` once enough of it is there."""
    pace = measured_pace(feedback) if feedback is not None else None
    if pace is not None:
        return Plan(len(comparisons), question.annotators, pace, True)
    n_answers = len(comparisons["responses"].iloc[0])
    words = sum(
        len(prompt.split()) + sum(len(response.split()) for response in responses)
        for prompt, responses in zip(comparisons["prompt"], comparisons["responses"], strict=True)
    )
    controls = [control for control in questions.asked(question, n_answers) if control.required]
    seconds = words / len(comparisons) / WORDS_A_MINUTE * 60 + SECONDS_A_CONTROL * len(controls)
    return Plan(len(comparisons), question.annotators, seconds, False)


def measured_pace(feedback: pd.DataFrame) -> float | None:
    """The median time in seconds between two answers of one person; None where too few are known."""
    given = feedback[feedback["status"] == "submitted"].dropna(subset=["submitted_at"])
    moments = pd.to_datetime(given["submitted_at"], utc=True, format="ISO8601").sort_values()
    seconds = moments.astype("datetime64[ns, UTC]").astype("int64") / 1e9
    gaps = seconds.groupby(given["annotator"]).diff()
    gaps = gaps[(gaps > 0) & (gaps < LONGEST_GAP_S)]
    return float(gaps.median()) if len(gaps) >= FEWEST_GAPS else None


def interleaved(comparisons: pd.DataFrame, known: Mapping[str, int]) -> pd.DataFrame:
    """The comparisons with those whose answer is known spread evenly among the others."""
    is_known = comparisons["id"].isin(set(known))
    n = int(is_known.sum())
    if not n:
        return comparisons
    rest = len(comparisons) - n
    places = np.empty(len(comparisons))
    places[~is_known] = np.arange(rest)
    places[is_known] = (np.arange(n) + 0.5) * rest / n
    return comparisons.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)


def attention(feedback: pd.DataFrame, known: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Of the comparisons with a known best answer: how many each annotator got right, and of how many.

    Args:
        feedback: As `preferences` describes it.
        known: The original index of the best response, by comparison.
    """
    found: dict[str, tuple[int, int]] = {}
    given = feedback[(feedback["status"] == "submitted") & feedback["id"].isin(set(known))]
    for vote in rows(given):
        best = known[vote["id"]]
        others = [place for place in range(len(vote["ranks"])) if place != best]
        ballots = [ballot_on(vote, best, other) for other in others]
        right, total = found.get(vote["annotator"], (0, 0))
        is_right = all(ballot is not None and ballot.first > 0.5 for ballot in ballots)
        found[vote["annotator"]] = (right + is_right, total + 1)
    return found


def known_answers(project: Project) -> dict[str, int]:
    """The comparisons whose answer is known, to see who reads with care: the original index of the best response."""
    return {str(name): int(best) for name, best in (read_json(project.folder / "known.json") or {}).items()}


def know_answer(project: Project, comparison_id: str, best: int) -> None:
    """Note a comparison's best response."""
    with FileLock(project.folder / ".known.lock"):  # two tabs may judge at once
        write_json(project.folder / "known.json", {**known_answers(project), comparison_id: best})


def forget_answers(project: Project) -> None:
    """Forget all comparisons whose answer is known."""
    (project.folder / "known.json").unlink(missing_ok=True)
