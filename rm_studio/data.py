"""Rows with a mapping become comparisons; what is left out on the way is counted, row by row.

A comparison is one prompt with two answers to choose between. A row with more than two answers gives every
pair of them. Its ``id`` is a hash of its content, so that the same comparison is never there twice, whatever
is loaded or published again.
"""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.config import ColumnMapping, DataSource
from rm_studio.errors import DataError
from rm_studio.tables import NOT_TEXT, shorten

MAX_COMPARISONS = 200_000
ROWS_LISTED = 200  # of each reason in the ledger; all are counted

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "user")
ANSWER_NAME = re.compile(r"response|answer|completion|output|reply|chosen|rejected", re.IGNORECASE)
SAMPLE_ANSWERS = ("helpful", "thin", "wrong", "poor")


class Example(NamedTuple):
    """A dataset of the Hub with the mapping that its authors used."""

    title: str
    source: DataSource
    mapping: ColumnMapping


TUTORIAL = Example(
    "The Argilla tutorial's set: the original human answer against Falcon-7B’s",
    DataSource(kind="hub", name="argilla/dolly-curated-comparison-falcon-7b-instruct", split="train"),
    ColumnMapping(prompt="prompt", answers=("original_response", "response-1"), id="external_id", category="category"),
)


class Comparisons(NamedTuple):
    """Comparisons (columns id, prompt, responses, sources, category, row, order) and their ledger."""

    frame: pd.DataFrame
    ledger: dict[str, Any]


class Ledger:
    """Counts what is dropped, why, and which rows those were."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.read = 0
        self.kept = 0
        self._dropped: dict[str, list[dict[str, Any]]] = {}
        self._counts: dict[str, int] = {}

    def drop(self, reason: str, row: int | str, text: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        listed = self._dropped.setdefault(reason, [])
        if len(listed) < ROWS_LISTED:
            listed.append({"row": row, "text": shorten(text, 160)})

    def as_dict(self) -> dict[str, Any]:
        """``{"unit", "read", "kept", "dropped": [{"reason", "count", "rows": [{"row", "text"}]}]}``"""
        dropped = [
            {"reason": reason, "count": self._counts[reason], "rows": rows} for reason, rows in self._dropped.items()
        ]
        return {"unit": self.unit, "read": self.read, "kept": self.kept, "dropped": dropped}


def guess_mapping(frame: pd.DataFrame) -> ColumnMapping | None:
    """Which columns probably hold what, by their names; None where no prompt and two answers are found."""
    columns = [column for column in frame.columns if column != NOT_TEXT]
    lower = {column.lower(): column for column in columns}
    if all(name in lower for name in ("prompt", *SAMPLE_ANSWERS)):
        return ColumnMapping(prompt=lower["prompt"], answers=SAMPLE_ANSWERS, category=lower.get("category"))
    prompt = next((lower[name] for name in PROMPT_NAMES if name in lower), None)
    answers = [
        column for column in columns if ANSWER_NAME.search(column) and column != prompt and _is_texts(frame[column])
    ]
    if prompt is None or len(answers) < 2:
        return None
    id_column = next((lower[name] for name in ("id", "external_id", "prompt_id") if name in lower), None)
    return ColumnMapping(prompt=prompt, answers=tuple(answers), id=id_column, category=lower.get("category"))


def check_mapping(frame: pd.DataFrame, prompt: str | None, answers: Sequence[str]) -> None:
    """Raise a DataError that says what a mapping still lacks."""
    columns = [column for column in frame.columns if column != NOT_TEXT]
    if len(columns) < 3:
        raise DataError(
            f"This table has {len(columns)} column{'s' if len(columns) > 1 else ''}; a comparison "
            "needs three: the prompt, "
            "and at least two answers to it."
        )
    if not prompt:
        raise DataError("Say which column holds the prompt.")
    if len(set(answers)) < 2:
        raise DataError("Choose at least two columns that hold answers: people will compare them.")
    if prompt in answers:
        raise DataError(f"“{prompt}” is both the prompt and an answer. Choose another column for one of them.")
    missing = [column for column in (prompt, *answers) if column not in columns]
    if missing:
        raise DataError(f"The table has no column “{missing[0]}”. Its columns are: {', '.join(columns)}.")


def build_comparisons(frame: pd.DataFrame, mapping: ColumnMapping, seed: int) -> Comparisons:
    """Turn rows into comparisons.

    Args:
        frame: A table as `tables` reads it.
        mapping: Which column means what.
        seed: Shuffles the order in which each comparison's answers are shown.

    Raises:
        DataError: the mapping does not fit the table, or nothing is left.
    """
    check_mapping(frame, mapping.prompt, mapping.answers)
    ledger = Ledger("comparisons")
    kept: dict[str, dict[str, Any]] = {}
    pairs = list(itertools.combinations(mapping.answers, 2))
    not_text: Sequence[list[str]] = list(frame[NOT_TEXT]) if NOT_TEXT in frame else [[]] * len(frame)
    columns = [mapping.prompt, *mapping.answers]
    cells = zip(*(frame[column] for column in columns), strict=True)
    ids = frame[mapping.id] if mapping.id else [None] * len(frame)
    categories = frame[mapping.category] if mapping.category else [None] * len(frame)
    for row, (values, odd, own_id, category) in enumerate(zip(cells, not_text, ids, categories, strict=True), start=1):
        cell = {column: value if isinstance(value, str) else "" for column, value in zip(columns, values, strict=True)}
        prompt = cell[mapping.prompt]
        for first, second in pairs:
            ledger.read += 1
            reason = _reason_to_drop(cell, (mapping.prompt, first, second), set(odd))
            if reason:
                ledger.drop(reason, row, prompt)
                continue
            # In an order that depends on nothing but the texts: feedback keeps its meaning when columns change places.
            (one, source), (other, other_source) = sorted([(cell[first], first), (cell[second], second)])
            responses = [one, other]
            comparison_id = content_id(prompt, responses)
            if comparison_id in kept:
                ledger.drop("the same comparison again", row, prompt)
                continue
            if len(kept) >= MAX_COMPARISONS:
                ledger.drop(f"over the limit of {MAX_COMPARISONS:,} comparisons", row, prompt)
                continue
            kept[comparison_id] = {
                "id": comparison_id,
                "prompt": prompt,
                "responses": responses,
                "sources": [source, other_source],
                "category": category if isinstance(category, str) else None,
                "row": own_id if isinstance(own_id, str) else str(row),
                "order": shown_order(comparison_id, len(responses), seed),
            }
    ledger.kept = len(kept)
    if not kept:
        reasons = "; ".join(f"{item['reason']}: {item['count']}" for item in ledger.as_dict()["dropped"])
        raise DataError(f"No comparison is left ({reasons}). Check which columns hold the prompt and the answers.")
    return Comparisons(pd.DataFrame(list(kept.values())), ledger.as_dict())


def content_id(prompt: str, responses: Sequence[str]) -> str:
    """A name for a comparison that depends on nothing but its content: 20 hexadecimal digits of SHA-256."""
    content = json.dumps([prompt, *sorted(responses)], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", errors="surrogatepass")).hexdigest()[:20]


def shown_order(comparison_id: str, n: int, seed: int) -> list[int]:
    """The order in which annotators see the responses: ``order[place] = original index``."""
    order = list(range(n))
    random.Random(f"{seed}:{comparison_id}").shuffle(order)
    return order


def _reason_to_drop(cell: dict[str, str], columns: tuple[str, str, str], not_text: set[str]) -> str | None:
    prompt, first, second = columns
    if any(column in not_text for column in columns):
        return "not text"
    if not cell[prompt].strip():
        return "empty prompt"
    if not cell[first].strip() or not cell[second].strip():
        return "empty answer"
    if cell[first].strip() == cell[second].strip():
        return "identical answers"
    return None


def _is_texts(column: "pd.Series[Any]") -> bool:
    """Whether a column mostly holds words rather than numbers or nothing."""
    texts = [value for value in column.head(50) if isinstance(value, str) and value.strip()]
    return sum(not re.fullmatch(r"[-\d.,%\s]+", text) for text in texts) * 2 >= max(len(texts), 1)
