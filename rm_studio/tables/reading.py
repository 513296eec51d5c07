"""One way to read rows, wherever they come from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.errors import DataError
from rm_studio.tables.cells import finished

MAX_ROWS = 200_000  # held in memory at once, by `read_all`


@dataclass
class Reading:
    """Rows that are about to be read: each batch as it comes, cells of any kind.

    ``how`` says what was recognised (encoding, delimiter); ``notes`` what a person should look at.
    """

    name: str
    how: str
    raw: Iterator[pd.DataFrame]
    notes: list[str] = field(default_factory=list)

    def batches(self) -> Iterator[pd.DataFrame]:
        """The rows as `cells.finished` makes them.

        Raises:
            DataError: there are none, or they cannot be read.
        """
        empty = True
        for frame in self.raw:
            if len(frame):
                empty = False
                yield finished(frame)
        if empty:
            raise DataError(f"“{self.name}” has no rows.")


class Table(NamedTuple):
    """Rows as they were read, and what a person should know about how they were read."""

    frame: pd.DataFrame
    notes: list[str]


def from_rows(rows: Iterable[Any]) -> pd.DataFrame:
    """Objects with named fields as a table.

    Raises:
        DataError: some are no such objects.
    """
    listed = list(rows)
    if not all(isinstance(row, dict) for row in listed):
        raise DataError("The rows are not objects with named fields. Each row needs names such as “prompt”.")
    return pd.DataFrame(listed, dtype=object)


def chained(readings: list[Reading]) -> Reading:
    """Several sources one after the other, as one."""
    if len(readings) == 1:
        return readings[0]
    notes = [note for reading in readings for note in reading.notes]
    name = f"{readings[0].name} and {len(readings) - 1} more"
    how = "; ".join(f"{reading.name}: {reading.how}" for reading in readings)
    return Reading(name, how, (frame for reading in readings for frame in reading.raw), notes)


def read_all(reading: Reading) -> Table:
    """Rows in memory, the first ``MAX_ROWS`` of them."""
    found: list[pd.DataFrame] = []
    count = 0
    for frame in reading.batches():
        found.append(frame)
        count += len(frame)
        if count > MAX_ROWS:
            break
    frame = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    if len(frame) > MAX_ROWS:
        note = f"Only the first {MAX_ROWS:,} rows were read; the rest was left out."
        return Table(frame.head(MAX_ROWS), [*reading.notes, note])
    return Table(frame, reading.notes)
