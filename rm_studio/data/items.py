"""Rows become items: a prompt, its answers, and what was already judged about them. Whatever the table's shape."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.config import ColumnMapping
from rm_studio.data import turns
from rm_studio.errors import DataError
from rm_studio.preferences import THE_FILE
from rm_studio.tables import NOT_TEXT

TEXT_KEYS = ("response", "text", "content", "answer", "completion", "output", "value", "generated_text", "generation")
SOURCE_KEYS = ("model", "model_name", "source", "generator", "from_model")
RATING_KEYS = ("overall_score", "rating", "score", "overall_rating", "reward")
FIRST = {"1", "a", "model_a", "response_a", "answer_a", "left", "first", "response_1", "answer_1", "model_1"}
SECOND = {"2", "b", "model_b", "response_b", "answer_b", "right", "second", "response_2", "answer_2", "model_2"}
TIES = {"tie", "tie (bothbad)", "both", "equal", "same"}
ENDING = re.compile(r"[^a-z0-9]+")


class Answer(NamedTuple):
    """One answer, where it came from, and why it cannot be used, if so."""

    text: str
    source: str
    problem: str = ""


class Vote(NamedTuple):
    """One judgement of an item.

    ``ranks`` has one a response, 1 the best, equal ones a tie, None for what was not compared; ``strength`` how much
    better the best is; ``certainty`` how sure the vote is (½ … 1); ``ratings`` one a response; ``place`` which one on
    the screen won, where that is known.
    """

    annotator: str
    status: str
    ranks: list[int | None]
    strength: float | None = None
    certainty: float | None = None
    ratings: list[float | None] | None = None
    place: int | None = None


class Item(NamedTuple):
    """A prompt with its answers and the votes on them; ``problem`` says why none of it can be used."""

    row: str
    prompt: str
    answers: list[Answer]
    category: str | None
    votes: list[Vote]
    problem: str = ""


def items(frames: Iterable[pd.DataFrame], mapping: ColumnMapping, others_as_text: bool = False) -> Iterator[Item]:
    """The items of a table, in its order; where a prompt's answers stand in rows of their own, at its first row.

    Args:
        frames: Batches of rows as `tables` reads them.
        mapping: Which column means what.
        others_as_text: Whether cells that are no text are taken as text too.
    """
    rows = _rows(frames, mapping, others_as_text)
    if mapping.shape == "rows":
        return _grouped(rows)
    make = {"columns": _side_by_side, "chosen": _chosen, "list": _listed}[mapping.shape]
    return (make(row) for row in rows)


class _Row:
    """One row, its cells by what they mean."""

    def __init__(self, number: int, cells: dict[str, Any], mapping: ColumnMapping, others_as_text: bool) -> None:
        self.mapping = mapping
        self.cells = cells
        odd = cells.get(NOT_TEXT)
        self.odd: set[str] = set() if others_as_text or odd is None else set(odd)
        own_id = cells.get(mapping.id) if mapping.id else None
        self.name = own_id if isinstance(own_id, str) else str(number)
        category = cells.get(mapping.category) if mapping.category else None
        self.category = category if isinstance(category, str) else None

    def text(self, column: str | None) -> str:
        value = self.cells.get(column) if column else None
        return value if isinstance(value, str) else ""

    def number(self, column: str) -> float | None:
        try:
            value = float(self.text(column))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def parsed(self, column: str) -> Any:
        """A cell's JSON, or nothing."""
        return turns.from_json(self.text(column))

    def prompt(self, start: Sequence[turns.Turn] = ()) -> tuple[str, str]:
        """The prompt as text, and its problem; ``start`` is what the answers' conversations have in common."""
        column, problem = self.mapping.prompt, ""
        found = list(start)
        if not found and column:
            found = turns.parse(self.text(column)) or [turns.Turn("user", self.text(column))]
            is_conversation = len(found) > 1 or found[0].text != self.text(column)
            problem = "not text" if column in self.odd and not is_conversation else ""
        if not any(turn.text.strip() for turn in found):
            return "", problem or "empty prompt"
        system = self.text(self.mapping.system)
        if system.strip() and found[0].role != "system":
            found.insert(0, turns.Turn("system", system))
        return turns.written(found), problem

    def sources(self, n: int, names: Sequence[str]) -> list[str]:
        given = [self.text(column) for column in self.mapping.sources[:n]]
        return [own or name for own, name in zip(given + [""] * (n - len(given)), names, strict=True)]

    def answers(self) -> tuple[str, str, list[Answer]]:
        """The prompt, its problem, and the answers of the answers' columns."""
        columns = self.mapping.answers
        spoken = [turns.parse(self.text(column)) for column in columns]
        sources = self.sources(len(columns), columns)
        if all(spoken) and all(len(found or ()) > 1 for found in spoken):
            conversations = [found for found in spoken if found]
            start = turns.shared_start(conversations)
            if start is None:
                prompt = turns.written(conversations[0][:-1])
                return prompt, "the conversations ask different things", []
            texts = [turns.answer_written(found[start:]) for found in conversations]
            prompt, problem = self.prompt(conversations[0][:start])
            return prompt, problem, [_answer(text, source) for text, source in zip(texts, sources, strict=True)]
        prompt, problem = self.prompt()
        answers = []
        for column, found, source in zip(columns, spoken, sources, strict=True):
            if found:
                last = [turn for turn in found if turn.role == "assistant"][-1:]
                answers.append(_answer(last[0].text if last else "", source))
            else:
                answers.append(_answer(self.text(column), source, column in self.odd))
        return prompt, problem, answers


def _rows(frames: Iterable[pd.DataFrame], mapping: ColumnMapping, others_as_text: bool) -> Iterator[_Row]:
    number = 0
    for frame in frames:
        names = [str(name) for name in frame.columns]
        for values in zip(*(frame[name].tolist() for name in frame.columns), strict=True):
            number += 1
            yield _Row(number, dict(zip(names, values, strict=True)), mapping, others_as_text)


def _answer(text: str, source: str, odd: bool = False) -> Answer:
    return Answer(text, source, "not text" if odd else "" if text.strip() else "empty answer")


def _side_by_side(row: _Row) -> Item:
    prompt, problem, answers = row.answers()
    votes: list[Vote] = []
    kind, columns = row.mapping.verdict, row.mapping.verdict_in
    if answers and kind == "choice":
        votes = _choices(row, len(answers))
    elif len(answers) == 2 and kind == "strength" and (strength := row.number(columns[0])) is not None:
        votes = [Vote(THE_FILE, "submitted", _ranks_of([-strength, strength]), strength=abs(strength))]
    elif len(answers) == 2 and kind == "probability" and row.text(columns[0]).strip():
        chance = row.number(columns[0])
        if chance is None or not 0 <= chance <= 1:
            problem = problem or "the probability is not from 0 to 1"
        else:
            sure = max(chance, 1 - chance)
            votes = [Vote(THE_FILE, "submitted", _ranks_of([1 - chance, chance]), certainty=sure)]
    elif kind == "rating" and len(columns) == len(answers):
        votes = _rated([row.number(column) for column in columns])
    return Item(row.name, prompt, answers, row.category, votes, problem)


def _chosen(row: _Row) -> Item:
    prompt, problem, answers = row.answers()
    kind, columns = row.mapping.verdict, row.mapping.verdict_in
    numbers = [row.number(column) for column in columns]
    strength = certainty = None
    if kind == "rating" and len(numbers) == 2 and None not in numbers:
        strength = float(numbers[0] or 0) - float(numbers[1] or 0)
    elif kind == "strength" and numbers and numbers[0] is not None:
        strength = numbers[0]
    elif kind == "probability" and numbers:
        certainty, strength = numbers[0], numbers[1] if len(numbers) > 1 else None
        if row.text(columns[0]).strip() and (certainty is None or not 0.5 <= certainty <= 1):
            problem = problem or "p_chosen is not from 0.5 (a tie) to 1 (sure)"
    ranks: list[int | None] = [1, 1] if certainty == 0.5 else [1, 2]
    return Item(
        row.name,
        prompt,
        answers,
        row.category,
        [Vote(THE_FILE, "submitted", ranks, strength=strength, certainty=certainty)],
        problem,
    )


def _listed(row: _Row) -> Item:
    prompt, problem = row.prompt()
    content = row.parsed(row.mapping.answers[0])
    if isinstance(content, dict) and content and all(isinstance(value, list) for value in content.values()):
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=False)]
    if not isinstance(content, list):
        return Item(row.name, prompt, [], row.category, [], problem or "no list of answers")
    named = row.parsed(row.mapping.sources[0]) if row.mapping.sources else None
    names = named if isinstance(named, list) and len(named) == len(content) else [None] * len(content)
    answers: list[Answer] = []
    for place, (entry, name) in enumerate(zip(content, names, strict=True), start=1):
        text, source = entry, name
        if isinstance(entry, dict):
            text = next((entry[key] for key in TEXT_KEYS if isinstance(entry.get(key), str)), None)
            source = name or next((entry[key] for key in SOURCE_KEYS if isinstance(entry.get(key), str)), None)
        if isinstance(entry, list) and (spoken := turns.messages(entry)):
            text = spoken[-1].text
        called = source if isinstance(source, str) and source else f"answer {place}"
        answers.append(_answer(text if isinstance(text, str) else "", called, not isinstance(text, str | None)))
    votes: list[Vote] = []
    if row.mapping.verdict == "rating":
        apart = row.parsed(row.mapping.verdict_in[0]) if row.mapping.verdict_in else None
        ratings = apart if isinstance(apart, list) else [_rating(entry) for entry in content]
        if len(ratings) == len(answers):
            votes = _rated([_number(rating) for rating in ratings])
    return Item(row.name, prompt, answers, row.category, votes, problem)


def _grouped(rows: Iterable[_Row]) -> Iterator[Item]:
    """One item a prompt. The answers to one may stand anywhere, so all are held in memory until the end."""
    found: dict[str, tuple[Item, list[float | None]]] = {}
    for row in rows:
        prompt, problem = row.prompt()
        if problem:
            yield Item(row.name, prompt, [], row.category, [], problem)
            continue
        column = row.mapping.answers[0]
        spoken = turns.parse(row.text(column))
        text = spoken[-1].text if spoken else row.text(column)
        item, ratings = found.setdefault(prompt, (Item(row.name, prompt, [], row.category, []), []))
        source = row.text(row.mapping.sources[0]) if row.mapping.sources else ""
        odd = column in row.odd and not spoken
        item.answers.append(_answer(text, source or f"answer {len(item.answers) + 1}", odd))
        ratings.append(row.number(row.mapping.verdict_in[0]) if row.mapping.verdict == "rating" else None)
    for item, ratings in found.values():
        yield item._replace(votes=_rated(ratings))


def _rated(ratings: list[float | None]) -> list[Vote]:
    if sum(rating is not None for rating in ratings) < 2:
        return []
    return [Vote(THE_FILE, "submitted", _ranks_of(ratings), ratings=ratings)]


def _ranks_of(values: Sequence[float | None]) -> list[int | None]:
    """1 for the highest; equal values share a rank, and None has none."""
    order = sorted({value for value in values if value is not None}, reverse=True)
    return [None if value is None else order.index(value) + 1 for value in values]


def _rating(entry: Any) -> Any:
    return next((entry[key] for key in RATING_KEYS if key in entry), None) if isinstance(entry, dict) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _choices(row: _Row, n: int) -> list[Vote]:
    """The votes in one row: a choice, or what Argilla exports: a list of them (version 1), or three columns (2)."""
    column = row.mapping.verdict_in[0]
    content = row.parsed(column)
    if column.endswith(".responses") and isinstance(content, list):
        users = row.parsed(f"{column}.users") or [f"annotator {place + 1}" for place in range(len(content))]
        statuses = row.parsed(f"{column}.status") or ["submitted"] * len(content)
        entries = [{"user_id": u, "value": v, "status": s} for u, v, s in zip(users, content, statuses, strict=False)]
    elif isinstance(content, dict) and all(isinstance(values, list) for values in content.values()):
        # datasets turns a list of structs into a struct of lists
        entries = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=False)]
    elif isinstance(content, dict):
        entries = [content]
    elif isinstance(content, list):
        entries = [entry for entry in content if isinstance(entry, dict)]
    elif row.text(column).strip():
        entries = [{"user_id": THE_FILE, "value": row.text(column), "status": "submitted"}]
    else:
        entries = []
    return [_choice(entry, n, row.mapping.answers) for entry in entries]


def _choice(entry: dict[str, Any], n: int, columns: Sequence[str]) -> Vote:
    place = choice_of(entry.get("value"), n, columns)
    status = str(entry.get("status") or "submitted")
    if place is None and _number(entry.get("value")) == 0:
        raise DataError(
            "A judgement is 0, which could mean the first answer or a tie. Write 1, 2 or “tie”, or let the names of "
            "the answers’ columns end in 0 and 1."
        )
    if status == "submitted" and place is None:
        status = "discarded"
    if status != "submitted" or place is None:
        return Vote(str(entry.get("user_id") or "annotator"), status, [])
    ranks: list[int | None] = [1] * n if place == 0 else _best(place - 1, n)
    who = str(entry.get("user_id") or "annotator")
    return Vote(who, status, ranks, place=place if place and who != THE_FILE else None)  # a file shows nothing


def _best(winner: int, n: int) -> list[int | None]:
    """Ranks where only the best is known: of two the other is second; of more the others were not compared."""
    return [1 if place == winner else 2 if n == 2 else None for place in range(n)]


def choice_of(value: Any, n: int, columns: Sequence[str] = ()) -> int | None:
    """Which of ``n`` answers a choice names: 1 … n, 0 for a tie, None for neither."""
    if isinstance(value, str) and value in columns:
        return list(columns).index(value) + 1
    word = str(value).strip().lower()
    number = _number(value)
    endings = [ENDING.split(column.lower())[-1] for column in columns]
    plain = str(int(number)) if number is not None and number == int(number) else word
    # Endings count only where all columns are numbered the same way: response_0 and response_1 are chosen by 0 and 1,
    # while beside “original_response” the 1 of “response-1” says nothing.
    schemes = ([str(place) for place in range(start, start + n)] for start in (0, 1))
    if sorted(endings) in [*schemes, list("abcdefgh"[:n])] and plain in endings:
        return endings.index(plain) + 1
    if number is not None and number == int(number) and 1 <= number <= n:
        return int(number)
    if word in TIES:
        return 0
    if n == 2:
        return 1 if word in FIRST else 2 if word in SECOND else None
    return "abcdefgh".index(word) + 1 if len(word) == 1 and word in "abcdefgh"[:n] else None
