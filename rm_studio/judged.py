"""Tables that already carry judgements become comparisons with feedback, for those who did not annotate here."""

from typing import Any, NamedTuple

import pandas as pd

from rm_studio import data
from rm_studio.config import ColumnMapping, Selection
from rm_studio.errors import DataError
from rm_studio.preferences import Pairs, make_pairs

SHAPES = (
    "a chosen and a rejected answer (text or chat messages), or two answers with a choice (1 or 2, A or B), how much "
    "better one is, or a rating of each"
)


class Judged(NamedTuple):
    """Comparisons, the feedback on them, and the ledger of rows that are neither."""

    comparisons: pd.DataFrame
    feedback: pd.DataFrame
    ledger: dict[str, Any]
    mapping: ColumnMapping


def read(frame: pd.DataFrame, seed: int = 42) -> Judged:
    """Recognise a table that carries judgements (``SHAPES``).

    Args:
        frame: A table as `tables` reads it.
        seed: Shuffles the answers, should the comparisons be published for a second opinion.

    Raises:
        DataError: the columns are none of the known shapes, or no judged comparison is left.
    """
    found = data.recognise(frame)
    if found is None or not found.mapping.is_judged:
        raise DataError(unknown(frame))
    comparisons = data.build(lambda: data.items([frame], found.mapping), Selection(), seed)
    require_judgements(comparisons.feedback)
    return Judged(comparisons.frame, comparisons.feedback, comparisons.ledger, found.mapping)


def unknown(frame: pd.DataFrame) -> str:
    """What to say of a table in which no judgements were recognised."""
    have = ", ".join(data.columns_of(frame))
    return f"This table carries no judgements that are known here. It needs {SHAPES}. It has: {have}."


def require_judgements(feedback: pd.DataFrame) -> None:
    """Raise a DataError where nobody's choice is in what a table said it carries."""
    if feedback.empty or not (feedback["status"] == "submitted").any():
        raise DataError("The table has the right columns, but nobody’s choice in them: all judgements are empty.")


def pairs_of(frame: pd.DataFrame) -> Pairs:
    """The preference pairs of a judged table, with the ledger of its rows.

    Raises:
        DataError: as `read`.
    """
    judged = read(frame)
    return Pairs(make_pairs(judged.comparisons, judged.feedback).frame, judged.ledger)
