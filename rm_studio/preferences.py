"""From what annotators answered to what a reward model learns from. Nothing here reads or writes files.

Feedback has one row a (comparison, annotator): ``id``, ``annotator``, ``status`` (submitted, discarded, draft),
``ranks`` (one a response in *original* order, 1 is best; equal ones are ties; None was not compared, except that those
with a rank are better), ``strength`` (how much better the best is, where that was asked), ``position_chosen`` (which
place on the screen won, from 1), ``submitted_at``, ``certainty`` (½ … 1, of a program that judged), ``ratings`` (one a
response, where answers were rated), ``reasons`` and ``comment``.
"""

import itertools
import math
import random
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.errors import DataError
from rm_studio.ledger import Ledger
from rm_studio.workspace import rows

FEEDBACK_COLUMNS = [
    "id",
    "annotator",
    "status",
    "ranks",
    "strength",
    "position_chosen",
    "submitted_at",
    "certainty",
    "ratings",
    "reasons",
    "comment",
]
PAIR_COLUMNS = ["prompt", "chosen", "rejected", "p_chosen", "n_annotators", "comparison_id", "category"]


THE_FILE = "the file"  # who judged, where a table does not say


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


class Ballot(NamedTuple):
    """How one annotator judged two answers: the share of the vote for the first (½ is a tie), and by how much."""

    first: float
    is_tie: bool
    strength: float | None


def make_pairs(comparisons: pd.DataFrame, feedback: pd.DataFrame) -> Pairs:
    """Let the annotators of each comparison vote, and make a preference pair of each two answers with a winner.

    ``p_chosen`` is the share of the votes for the chosen answer; a tie gives each half a vote. Where that leaves two
    answers equal they become a pair with ``p_chosen`` ½, which training leaves out unless it learns from ties. A column
    ``strength`` (mean of the votes, from the chosen answer's side) is there where annotators said how much better.
    Comparisons that were only discarded, not yet answered, or split evenly become no pair, and are counted.
    """
    ledger = Ledger("comparisons")
    feedback = feedback.reindex(columns=FEEDBACK_COLUMNS)
    votes: dict[str, list[dict[str, Any]]] = {}
    for vote in rows(feedback[feedback["status"] == "submitted"]):
        votes.setdefault(vote["id"], []).append(vote)
    discarded = set(feedback.loc[feedback["status"] == "discarded", "id"])
    made: list[dict[str, Any]] = []
    for comparison in rows(comparisons):
        ledger.read += 1
        before = len(made)
        n_ballots = 0
        given = votes.get(comparison["id"], [])
        for first, second in itertools.combinations(range(len(comparison["responses"])), 2):
            ballots = [ballot for vote in given if (ballot := ballot_on(vote, first, second))]
            n_ballots += len(ballots)
            if pair := _pair(comparison, first, second, ballots):
                made.append(pair)
        if len(made) > before:
            ledger.kept += 1
            continue
        unanswered = "discarded" if comparison["id"] in discarded else "no answer yet"
        told = "annotators split evenly" if n_ballots else "fewer than two of its answers are rated"
        reason = told if given else unanswered
        ledger.drop(reason, comparison["row"], comparison["prompt"])
    has_strength = any(pair["strength"] is not None for pair in made)
    return Pairs(pd.DataFrame(made, columns=[*PAIR_COLUMNS, *["strength"] * has_strength]), ledger.as_dict())


def ballot_on(vote: dict[str, Any], first: int, second: int) -> Ballot | None:
    """What a submitted vote says about two of a comparison's responses; None where it says nothing."""
    ranks = [_rank(vote["ranks"][place]) for place in (first, second)]
    ratings = vote.get("ratings")
    if isinstance(ratings, float):  # pandas: nothing
        ratings = None
    rated = [_number(ratings[place]) for place in (first, second)] if ratings is not None else []
    # Of several answers only the best may be ranked, and the others are worse; what was not rated may be anything.
    if ranks == [math.inf, math.inf] or None in rated:
        return None
    won = 0.5 if ranks[0] == ranks[1] else float(ranks[0] < ranks[1])
    sure = vote.get("certainty")
    if sure is not None and not math.isnan(sure) and won != 0.5:
        won = sure if won else 1 - sure
    strength = _number(vote.get("strength"))
    if strength is not None and won != 0.5:
        strength = strength if won > 0.5 else -strength
    elif len(rated) == 2 and rated[0] is not None and rated[1] is not None:
        strength = rated[0] - rated[1]
    return Ballot(won, ranks[0] == ranks[1], strength)


def _pair(comparison: dict[str, Any], first: int, second: int, ballots: list[Ballot]) -> dict[str, Any] | None:
    if not ballots:
        return None
    share = sum(ballot.first for ballot in ballots) / len(ballots)
    if share == 0.5 and not any(ballot.is_tie for ballot in ballots):
        return None
    winner, loser = (first, second) if share >= 0.5 else (second, first)
    told = [ballot.strength for ballot in ballots if ballot.strength is not None]
    strength = sum(told) / len(told) if told else None
    return {
        "prompt": comparison["prompt"],
        "chosen": comparison["responses"][winner],
        "rejected": comparison["responses"][loser],
        "p_chosen": max(share, 1 - share),
        "n_annotators": len(ballots),
        "comparison_id": comparison["id"],
        "category": comparison["category"],
        "strength": None if strength is None else max(0.0, strength if winner == first else -strength),
    }


def _rank(rank: float | None) -> float:
    """A rank that compares: what has none comes after all that have one."""
    return math.inf if rank is None or math.isnan(rank) else float(rank)


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def agreement(feedback: pd.DataFrame) -> Share:
    """How often two annotators who compared the same two answers said the same of them (``n`` = such cases)."""
    agreed = cases = 0
    people = feedback[(feedback["status"] == "submitted") & (feedback["annotator"] != THE_FILE)]
    for _, group in people.reindex(columns=FEEDBACK_COLUMNS).groupby("id"):
        for one, other in itertools.combinations(rows(group), 2):
            for first, second in itertools.combinations(range(len(one["ranks"])), 2):
                said = [ballot.first for vote in (one, other) if (ballot := ballot_on(vote, first, second))]
                if len(said) < 2:
                    continue
                cases += 1
                agreed += len({(share > 0.5) - (share < 0.5) for share in said}) == 1
    return wilson(agreed, cases)


def position_bias(feedback: pd.DataFrame) -> Share:
    """How often the answer shown first was chosen: of two about half when the place plays no part."""
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
