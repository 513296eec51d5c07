"""What a mapping still lacks before rows can be read with it."""

from collections.abc import Sequence

from rm_studio.config import ColumnMapping
from rm_studio.errors import DataError


def check(columns: Sequence[str], mapping: ColumnMapping) -> None:
    """Raise a DataError that says what a mapping still lacks.

    Args:
        columns: The table's, without ``NOT_TEXT``.
        mapping: What a person chose.
    """
    many = mapping.shape in ("columns", "chosen")
    if mapping.shape == "columns" and len(columns) < 3 and mapping.prompt:
        raise DataError(
            f"This table has {len(columns)} column{'s' if len(columns) > 1 else ''}; a comparison needs three: the "
            "prompt, and at least two answers to it."
        )
    if not mapping.prompt and not many:
        raise DataError("Say which column holds the prompt.")
    if many and len(set(mapping.answers)) < 2:
        raise DataError("Choose at least two columns that hold answers: people will compare them.")
    if mapping.shape == "chosen" and len(mapping.answers) != 2:
        raise DataError("Choose two columns: first the one with the chosen answer, then the one with the rejected.")
    if not many and len(mapping.answers) != 1:
        raise DataError("Choose the one column that holds the answers.")
    if mapping.prompt in mapping.answers:
        raise DataError(f"“{mapping.prompt}” is both the prompt and an answer. Choose another column for one of them.")
    if mapping.verdict != "none" and not mapping.verdict_in and mapping.shape != "list":
        raise DataError("Say which column holds the judgement, or that there is none.")
    problem = _verdict_problem(mapping)
    if problem:
        raise DataError(problem)
    named = [mapping.prompt, *mapping.answers, *mapping.sources, *mapping.verdict_in, mapping.system]
    missing = [column for column in named if column and column not in columns]
    if missing:
        raise DataError(f"The table has no column “{missing[0]}”. Its columns are: {', '.join(columns)}.")


def _verdict_problem(mapping: ColumnMapping) -> str:
    """Why a judgement cannot be read from rows of this shape."""
    n, kind = len(mapping.answers), mapping.verdict
    if kind == "choice" and mapping.shape != "columns":
        return "A choice can be read where answers stand side by side in columns."
    if mapping.shape == "columns" and kind in ("strength", "probability") and n != 2:
        return f"This judgement is about two answers, but {n} columns are chosen."
    if mapping.shape == "columns" and kind == "rating" and len(mapping.verdict_in) != n:
        return f"Choose a column with the rating for each of the {n} answers, in the same order."
    if mapping.shape in ("list", "rows") and kind in ("strength", "probability"):
        return "Here only a rating of each answer can be read."
    return ""
