"""The kinds of questions: what stands on the annotation page for each, and what an answer to it means.

Nothing here knows Argilla: `annotation` makes its questions of `asked`, the preview draws the same, and `given` reads
what came back.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from rm_studio.config import Kind, Question
from rm_studio.errors import AnnotationError

TIE = "tie"
TIE_WORDS = "About the same"
HOW_MUCH = {3: "much better", 2: "better", 1: "slightly better"}
REASONS, COMMENT = "reasons", "comment"

Control = Literal["rating", "label", "ranking", "labels", "text"]


class KindInfo(NamedTuple):
    """A kind in words: its name, when to use it, and the question and hint to begin with."""

    title: str
    when: str
    question: str
    hint: str
    several: bool


LABEL_HINT = "Read both, then choose the better one. Say so when they are about the same. Discard when both are bad."
KINDS: dict[Kind, KindInfo] = {
    "best_of_two": KindInfo(
        "The better of two",
        "The fastest and the surest to agree on; the tutorial’s. Use it unless you have a reason not to.",
        "Choose the best answer",
        "1 if the first answer is better, 2 if the second is. Discard when they are equally good or bad.",
        several=False,
    ),
    "best_of_many": KindInfo(
        "The best of several",
        "When there are many answers to each prompt and only the best matters. One click gives several pairs.",
        "Choose the best answer",
        "Read all of them, then choose the one you would rather have received.",
        several=True,
    ),
    "ranking": KindInfo(
        "Rank all, ties allowed",
        "When every answer should be learned from: three answers give three pairs, four give six. Takes longest.",
        "Rank the answers, the best first",
        "Drag each answer to its place. Answers that are equally good may share one.",
        several=True,
    ),
    "strength": KindInfo(
        "How much better",
        "When it matters by how much: the strength becomes the margin that the model must keep.",
        "Which answer is better, and by how much?",
        "“Slightly” when others may well see it the other way round.",
        several=False,
    ),
    "rating": KindInfo(
        "Rate each answer",
        "When you want to know why: each answer is rated by itself, on one or more criteria. Less agreement.",
        "Rate each answer",
        "From 1, the worst, to the best. Judge each answer by itself.",
        several=True,
    ),
}


class Asked(NamedTuple):
    """One control on the page: ``options`` are what can be chosen, by their values; for a rating only values."""

    name: str
    control: Control
    title: str
    hint: str
    options: dict[str, str]
    required: bool


class Given(NamedTuple):
    """What an answer means, in the responses' original order (`preferences.FEEDBACK_COLUMNS`)."""

    ranks: list[float | None]
    strength: float | None
    ratings: list[float] | None
    position_chosen: int | None
    reasons: list[str] | None
    comment: str | None


def check(question: Question, n: int) -> None:
    """Raise an AnnotationError where comparisons of ``n`` answers do not fit the question."""
    info = KINDS[question.kind]
    if n > 2 and not info.several:
        raise AnnotationError(
            f"“{info.title}” asks about two answers, but each comparison has {n}. Choose another kind of question, or "
            "make pairs of them on the Data tab under “What to annotate”."
        )


def asked(question: Question, n: int) -> list[Asked]:
    """The controls on the page for a comparison of ``n`` answers, in their order."""
    answers = {str(place): f"Answer {place}" for place in range(1, n + 1)}
    tie = {TIE: TIE_WORDS} if question.ties else {}
    title, hint = question.title, question.description
    main: list[Asked]
    if question.kind == "best_of_two" and not tie:
        main = [Asked(question.name, "rating", title, hint, {str(value): "" for value in question.values}, True)]
    elif question.kind in ("best_of_two", "best_of_many"):
        hint = LABEL_HINT if hint == KINDS["best_of_two"].hint else hint  # there are no numbers to choose
        main = [Asked(question.name, "label", title, hint, {**answers, **tie}, True)]
    elif question.kind == "ranking":
        places = {f"response-{place}": name for place, name in answers.items()}
        main = [Asked(question.name, "ranking", title, hint, places, True)]
    elif question.kind == "strength":
        first = {f"1-{much}": f"Answer 1 is {words}" for much, words in HOW_MUCH.items()}
        second = {f"2-{much}": f"Answer 2 is {HOW_MUCH[much]}" for much in sorted(HOW_MUCH)}
        main = [Asked(question.name, "label", title, hint, {**first, TIE: TIE_WORDS, **second}, True)]
    else:
        points = {str(point): "" for point in range(1, question.points + 1)}
        main = [
            Asked(name, "rating", f"Answer {place}: {criterion}", hint, points, True)
            for place, criterion, name in _rated(question, n)
        ]
    if question.reasons:
        options = _slugs(question.reasons)
        main.append(Asked(REASONS, "labels", "Why?", "Tick what applies.", options, question.reasons_required))
    if question.comment:
        main.append(Asked(COMMENT, "text", "Comment", "Anything the team should know.", {}, question.comment_required))
    return main


def given(question: Question, values: dict[str, Any], order: Sequence[int]) -> Given | None:
    """What an answer means.

    Args:
        question: What was asked.
        values: What was chosen, by the control's name, as Argilla keeps it: ``{"choose-best": {"value": 1}}``.
        order: The places as they were shown: ``order[place] = original index``.

    Returns:
        None where the answer says nothing that can be used.
    """
    chosen = {name: content.get("value") for name, content in values.items()}
    reasons, comment = chosen.get(REASONS), chosen.get(COMMENT)
    told = _judgement(question, chosen, order)
    if told is None:
        return None
    ranks, strength, ratings = told
    best = [index for index, rank in enumerate(ranks) if rank == 1]
    place = list(order).index(best[0]) + 1 if len(best) == 1 else None
    named = _slugs(question.reasons)
    ticked = [named.get(value, str(value)) for value in reasons] if isinstance(reasons, list) else None
    return Given(ranks, strength, ratings, place, ticked, comment if isinstance(comment, str) and comment else None)


def _judgement(
    question: Question, chosen: dict[str, Any], order: Sequence[int]
) -> tuple[list[float | None], float | None, list[float] | None] | None:
    n = len(order)
    value = chosen.get(question.name)
    if question.kind == "rating":
        return _ratings(question, chosen, order)
    if question.kind == "ranking":
        found = {entry["value"]: entry.get("rank") for entry in value or [] if isinstance(entry, dict)}
        placed = [rank for place in range(n) if (rank := found.get(f"response-{place + 1}")) is not None]
        if len(placed) < n:
            return None
        levels = sorted(set(placed))
        return [float(levels.index(placed[list(order).index(index)]) + 1) for index in range(n)], None, None
    if value == TIE:
        return [1.0] * n, 0.0 if question.kind == "strength" else None, None
    digits, _, much = str(value).partition("-")
    if not digits.isdigit() or not 1 <= int(digits) <= n:
        return None
    winner = order[int(digits) - 1]
    ranks: list[float | None] = [1.0 if index == winner else 2.0 if n == 2 else None for index in range(n)]
    return ranks, float(much) if much else None, None


def _ratings(
    question: Question, chosen: dict[str, Any], order: Sequence[int]
) -> tuple[list[float | None], float | None, list[float] | None] | None:
    """Ranks by the mean over the criteria."""
    points: dict[int, list[float]] = {}
    for place, _, name in _rated(question, len(order)):
        if not isinstance(chosen.get(name), int):
            return None
        points.setdefault(order[place - 1], []).append(float(chosen[name]))
    ratings = [sum(points[index]) / len(points[index]) for index in range(len(order))]
    levels = sorted(set(ratings), reverse=True)
    return [float(levels.index(rating) + 1) for rating in ratings], None, ratings


def _rated(question: Question, n: int) -> Iterator[tuple[int, str, str]]:
    """Each rating on the page: which answer, which criterion, the control's name."""
    for place in range(1, n + 1):
        for slug, criterion in _slugs(question.criteria).items():
            yield place, criterion, f"{slug}-{place}"


def _slugs(named: Sequence[str]) -> dict[str, str]:
    """Names that Argilla takes for what people read, each its own."""
    found: dict[str, str] = {}
    for words in named:
        slug = _slug(words)
        found[slug if slug not in found else f"{slug}-{hashlib.sha256(words.encode()).hexdigest()[:6]}"] = words
    return found


def _slug(words: str) -> str:
    """A name that Argilla takes, for words that people read."""
    plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return plain or hashlib.sha256(words.encode()).hexdigest()[:8]  # in another alphabet
