"""The row ledger: what was read, what was kept, what was left out and why, row by row."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rm_studio.tables import shorten
from rm_studio.workspace import atomic

ROWS_LISTED = 200  # of each reason, to be looked at on a page; all are counted, and all are in the file
AFTER_SEMICOLON = re.compile(r"(;\s*)(?=[=+@])")  # where lists are separated by semicolons, files in commas split there
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run what begins so (OWASP, CSV injection)
HEADINGS = ["Why", "Row", "Prompt"]


class Ledger:
    """Counts what is dropped, why, and which rows those were.

    Args:
        unit: What is counted.
        file: Where all rows that are dropped are listed, as CSV; a context manager writes it.
    """

    def __init__(self, unit: str, file: Path | None = None) -> None:
        self.unit = unit
        self.read = 0
        self.kept = 0
        self._dropped: dict[str, list[dict[str, Any]]] = {}
        self._counts: dict[str, int] = {}
        self._file = file
        self._written = atomic(file) if file else None
        self._csv: Any = None

    def __enter__(self) -> Self:
        if self._written:
            target = self._written.__enter__()
            target.write(b"\xef\xbb\xbf")  # by this mark Excel knows UTF-8
            self._csv = csv.writer(_Encoded(target))
            self._csv.writerow(HEADINGS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._written:
            self._written.__exit__(kind, error, trace)

    def drop(self, reason: str, row: int | str, text: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        listed = self._dropped.setdefault(reason, [])
        if len(listed) < ROWS_LISTED:
            listed.append({"row": row, "text": shorten(text, 160)})
        if self._csv:
            self._csv.writerow([reason, harmless(str(row)), harmless(shorten(text, 160))])

    def as_dict(self) -> dict[str, Any]:
        """``{"unit", "read", "kept", "dropped": [{"reason", "count", "rows": [{"row", "text"}]}]}``"""
        dropped = [
            {"reason": reason, "count": self._counts[reason], "rows": rows} for reason, rows in self._dropped.items()
        ]
        return {"unit": self.unit, "read": self.read, "kept": self.kept, "dropped": dropped}


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, also one that begins a new cell at each semicolon."""
    cell = AFTER_SEMICOLON.sub(r"\1'", cell)
    return f"'{cell}" if cell.startswith(FORMULAS) else cell


class _Encoded:
    """What `csv` writes, as UTF-8 into a binary file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, text: str) -> None:
        self.file.write(text.encode("utf-8", "replace"))


def reasons(content: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The reasons of a ledger's content with their counts."""
    return ((item["reason"], item["count"]) for item in content["dropped"])
