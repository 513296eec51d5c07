"""Tables that already carry judgements become comparisons with feedback, for those who did not annotate here."""

import json
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.config import ColumnMapping, DataSource
from rm_studio.data import build_comparisons, content_id
from rm_studio.errors import DataError
from rm_studio.preferences import FEEDBACK_COLUMNS, Pairs, make_pairs
from rm_studio.tables import NOT_TEXT
from rm_studio.workspace import rows

TUTORIAL_FEEDBACK = DataSource(kind="hub", name="argilla/comparison-data-falcon-with-feedback", split="train")
SHAPES = (
    "“prompt”, “chosen” and “rejected”; or “instruction” (or “prompt”), “response-1”, “response-2” and “choose-best”, "
    "as 1 or 2 or as Argilla exports it"
)


class Judged(NamedTuple):
    """Comparisons, the feedback on them, and the ledger of rows that are neither."""

    comparisons: pd.DataFrame
    feedback: pd.DataFrame
    ledger: dict[str, Any]
    mapping: ColumnMapping


class Vote(NamedTuple):
    """One person's answer to a row: the place that won (1 or 2; None when discarded or unfinished)."""

    annotator: str
    status: str
    value: int | None


def read(frame: pd.DataFrame, seed: int = 42) -> Judged:
    """Recognise a table that carries judgements, by its columns (``SHAPES``).

    Args:
        frame: A table as `tables` reads it.
        seed: Shuffles the answers, should the comparisons be published for a second opinion.

    Raises:
        DataError: the columns are none of the known shapes, or no judged comparison is left.
    """
    columns = set(frame.columns)
    prompt = "instruction" if "instruction" in columns else "prompt"
    if {"prompt", "chosen", "rejected"} <= columns:
        mapping = ColumnMapping(prompt="prompt", answers=("chosen", "rejected"), category=_category(columns))
    elif {prompt, "response-1", "response-2"} <= columns and columns & {"choose-best", "choose-best.responses"}:
        mapping = ColumnMapping(prompt=prompt, answers=("response-1", "response-2"), category=_category(columns))
    else:
        have = ", ".join(column for column in frame.columns if column != NOT_TEXT)
        raise DataError(f"This table carries no judgements that are known here. It needs {SHAPES}. It has: {have}.")
    named = mapping.answers[0] == "chosen"  # which place won on the screen is then not known

    comparisons, ledger = build_comparisons(frame, mapping, seed)
    responses = dict(zip(comparisons["id"], comparisons["responses"], strict=True))
    given: list[list[Any]] = []
    for row in rows(frame):  # a comparison that comes again is judged again
        answers = [row[column] if isinstance(row[column], str) else "" for column in mapping.answers]
        question = row[mapping.prompt] if isinstance(row[mapping.prompt], str) else ""
        comparison_id = content_id(question, answers)
        if comparison_id not in responses:
            continue
        for vote in [Vote("the file", "submitted", 1)] if named else _votes(row):
            best = answers[vote.value - 1] if vote.value else None
            ranks = [1 if text == best else 2 for text in responses[comparison_id]] if best is not None else []
            given.append([comparison_id, vote.annotator, vote.status, ranks, None, None if named else vote.value, None])
    feedback = pd.DataFrame(given, columns=FEEDBACK_COLUMNS)
    if feedback.empty or not (feedback["status"] == "submitted").any():
        raise DataError("The table has the right columns, but nobody’s choice in them: “choose-best” is empty.")
    return Judged(comparisons, feedback, ledger, mapping)


def pairs_of(frame: pd.DataFrame) -> Pairs:
    """The preference pairs of a judged table, with the ledger of its rows.

    Columns ``p_chosen`` (½ … 1) and ``strength`` beside ``chosen`` and ``rejected`` go into the pairs.

    Raises:
        DataError: as `read`; or ``p_chosen`` is out of its bounds.
    """
    judged = read(frame)
    pairs = make_pairs(judged.comparisons, judged.feedback).frame
    given = [name for name in ("p_chosen", "strength") if name in frame]
    if given and judged.mapping.answers == ("chosen", "rejected"):
        ids = [
            content_id(str(row["prompt"]), [str(row["chosen"]), str(row["rejected"])])
            for row in rows(frame[["prompt", "chosen", "rejected"]])
        ]
        known = frame[given].apply(pd.to_numeric, errors="coerce").groupby(ids).mean()
        pairs = pairs.drop(columns=given, errors="ignore").join(known, on="comparison_id")
        if "p_chosen" in given and not pairs["p_chosen"].fillna(1.0).between(0.5, 1.0).all():
            raise DataError(
                "The column “p_chosen” must be from 0.5 (a tie) to 1 (sure): it is about the chosen answer."
            )
    return Pairs(pairs, judged.ledger)


def _category(columns: set[str]) -> str | None:
    return next((name for name in ("category", "subset") if name in columns), None)


def _votes(row: dict[str, Any]) -> list[Vote]:
    """The votes in one row: ``choose-best`` as a number, as Argilla 1 exports it, or as Argilla 2 does."""
    if isinstance(row.get("choose-best.responses"), str):
        values = _parsed(row["choose-best.responses"])
        users = _parsed(row.get("choose-best.responses.users")) or [f"annotator {i + 1}" for i in range(len(values))]
        statuses = _parsed(row.get("choose-best.responses.status")) or ["submitted"] * len(values)
        entries = [{"user_id": u, "value": v, "status": s} for u, v, s in zip(users, values, statuses, strict=False)]
    else:
        content = _parsed(row.get("choose-best"))
        if isinstance(content, int | float):
            entries = [{"user_id": "the file", "value": content, "status": "submitted"}]
        elif isinstance(content, dict):  # datasets turns a list of structs into a struct of lists
            names = list(content)
            entries = [dict(zip(names, values, strict=True)) for values in zip(*content.values(), strict=False)]
        else:
            entries = content if isinstance(content, list) else []
    return [_vote(entry) for entry in entries if isinstance(entry, dict)]


def _vote(entry: dict[str, Any]) -> Vote:
    value = int(float(entry["value"])) if str(entry.get("value")) in ("1", "2", "1.0", "2.0") else None
    status = str(entry.get("status") or "submitted")
    if status == "submitted" and value is None:
        status = "discarded"
    return Vote(str(entry.get("user_id") or "annotator"), status, value if status == "submitted" else None)


def _parsed(cell: Any) -> Any:
    """A cell's JSON, or nothing."""
    try:
        return json.loads(cell)
    except (TypeError, ValueError):
        return None
