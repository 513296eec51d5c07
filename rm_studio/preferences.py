"""From what annotators answered to what a reward model learns from. Nothing here reads or writes files.

Feedback has one row a (comparison, annotator): ``id``, ``annotator``, ``status`` (submitted, discarded, draft),
``ranks`` (one a response in *original* order, 1 is best), ``strength`` (None here), ``position_chosen`` (which
place on the screen won, 1 or 2), ``submitted_at``.
"""

import itertools
import math
import random
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.data import Ledger
from rm_studio.errors import DataError
from rm_studio.workspace import rows

FEEDBACK_COLUMNS = ["id", "annotator", "status", "ranks", "strength", "position_chosen", "submitted_at"]
PAIR_COLUMNS = ["prompt", "chosen", "rejected", "p_chosen", "n_annotators", "comparison_id", "category"]


class Pairs(NamedTuple):
    """Preference pairs (``PAIR_COLUMNS``) and the ledger of what did not become one."""

    frame: pd.DataFrame
    ledger: dict[str, Any]


class Share(NamedTuple):
    """A share of ``n`` cases, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} (95 % interval {self.low:.0%} to {self.high:.0%}, {self.n:,} cases)"


class Split(NamedTuple):
    """Pairs to learn from and pairs to measure on; no prompt is in both."""

    train: pd.DataFrame
    test: pd.DataFrame


def wilson(successes: float, n: int) -> Share:
    """A share with its 95 % Wilson score interval (Wilson 1927, JASA 22:209), which stays within 0 … 1."""
    if n == 0:
        return Share(float("nan"), 0.0, 1.0, 0)
    z = 1.959964
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Share(p, max(0.0, centre - half), min(1.0, centre + half), n)


def make_pairs(comparisons: pd.DataFrame, feedback: pd.DataFrame) -> Pairs:
    """Let the annotators of each comparison vote, and make one preference pair of each that has a winner.

    ``p_chosen`` is the share of submitted votes for the chosen answer. Comparisons that were only discarded, not
    yet answered, or split evenly become no pair, and are counted.
    """
    ledger = Ledger("comparisons")
    submitted = feedback[feedback["status"] == "submitted"]
    votes = {key: list(group) for key, group in submitted.groupby("id")["ranks"]}
    discarded = set(feedback.loc[feedback["status"] == "discarded", "id"])
    made: list[dict[str, Any]] = []
    for comparison in rows(comparisons):
        ledger.read += 1
        ballots = votes.get(comparison["id"], [])
        first = sum(ranks[0] < ranks[1] for ranks in ballots)
        second = sum(ranks[1] < ranks[0] for ranks in ballots)
        if not ballots or first == second:
            reason = (
                "annotators split evenly"
                if ballots
                else "discarded"
                if comparison["id"] in discarded
                else "no answer yet"
            )
            ledger.drop(reason, comparison["row"], comparison["prompt"])
            continue
        winner = 0 if first > second else 1
        made.append(
            {
                "prompt": comparison["prompt"],
                "chosen": comparison["responses"][winner],
                "rejected": comparison["responses"][1 - winner],
                "p_chosen": max(first, second) / (first + second),
                "n_annotators": len(ballots),
                "comparison_id": comparison["id"],
                "category": comparison["category"],
            }
        )
    ledger.kept = len(made)
    return Pairs(pd.DataFrame(made, columns=PAIR_COLUMNS), ledger.as_dict())


def agreement(feedback: pd.DataFrame) -> Share:
    """How often two annotators who answered the same comparison chose the same answer (``n`` = such couples)."""
    agreed = couples = 0
    for _, ranks in feedback[feedback["status"] == "submitted"].groupby("id")["ranks"]:
        for one, other in itertools.combinations(ranks, 2):
            couples += 1
            agreed += (one[0] < one[1]) == (other[0] < other[1])
    return wilson(agreed, couples)


def position_bias(feedback: pd.DataFrame) -> Share:
    """How often the answer shown first was chosen: about half when the place plays no part."""
    places = feedback.loc[feedback["status"] == "submitted", "position_chosen"].dropna()
    return wilson(int((places == 1).sum()), len(places))


def split_by_prompt(pairs: pd.DataFrame, test_share: float, seed: int) -> Split:
    """Hold out whole prompts until about ``test_share`` of the pairs is held out.

    Prompts that differ only in case or spacing count as one. The same seed gives the same split.

    Raises:
        DataError: fewer than two different prompts.
    """
    keys = pairs["prompt"].map(lambda prompt: " ".join(prompt.casefold().split()))
    sizes = keys.value_counts()
    if len(sizes) < 2:
        raise DataError(
            "All pairs share one prompt, so none can be held out for testing. Add pairs with other prompts."
        )
    prompts = sorted(sizes.index)
    random.Random(seed).shuffle(prompts)
    wanted = test_share * len(pairs)
    held_out: set[str] = set()
    count = 0
    for prompt in prompts[:-1]:  # one prompt at least is left to learn from
        if held_out and count + sizes[prompt] / 2 > wanted:
            break
        held_out.add(prompt)
        count += int(sizes[prompt])
    in_test = keys.isin(held_out)
    return Split(pairs[~in_test].reset_index(drop=True), pairs[in_test].reset_index(drop=True))
