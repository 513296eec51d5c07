"""From rows to comparisons: what a table is (`shapes`), its rows as prompts with answers (`items`), what is annotated
of them (`comparisons`), and the ledger of what is left out on the way.
"""

from collections.abc import Iterable

import pandas as pd

from rm_studio.config import ColumnMapping, Selection
from rm_studio.data.comparisons import Comparisons, build, content_id, shown_order
from rm_studio.data.items import items
from rm_studio.data.known import EXAMPLES, TUTORIAL, Example, example_of
from rm_studio.data.mapping import check
from rm_studio.data.shapes import SAMPLE_ANSWERS, Recognised, recognise
from rm_studio.ledger import Ledger
from rm_studio.tables import NOT_TEXT

__all__ = [
    "EXAMPLES",
    "SAMPLE_ANSWERS",
    "TUTORIAL",
    "Comparisons",
    "Example",
    "Ledger",
    "Recognised",
    "build",
    "build_comparisons",
    "check",
    "columns_of",
    "content_id",
    "example_of",
    "items",
    "recognise",
    "shown_order",
]


def build_comparisons(
    frame: pd.DataFrame, mapping: ColumnMapping, seed: int, selection: Selection | None = None
) -> Comparisons:
    """`build` for a table in memory.

    Raises:
        DataError: the mapping does not fit the table, or nothing is left.
    """
    check(columns_of(frame), mapping)
    selection = selection or Selection()
    return build(lambda: items([frame], mapping, selection.others_as_text), selection, seed)


def columns_of(frame: pd.DataFrame | Iterable[str]) -> list[str]:
    """A table's own columns."""
    return [str(name) for name in frame if name != NOT_TEXT]
