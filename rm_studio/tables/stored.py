"""Rows in the project's ``table.parquet``: written as they come, read again in batches."""

import os
import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rm_studio.errors import WorkspaceError
from rm_studio.tables.cells import NOT_TEXT
from rm_studio.workspace import replace_file

BATCH = 10_000


def store(
    path: Path,
    frames: Iterable[pd.DataFrame],
    limit: int = 0,
    sample_seed: int | None = None,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write rows to ``path``; in memory there is one batch of them, or the sample.

    Args:
        path: The parquet file, replaced when all is written.
        frames: As `Reading.batches` gives them; later ones may have further columns.
        limit: The most rows to keep; 0 keeps all.
        sample_seed: With a ``limit``: keep a random sample of all rows, each as likely, instead of the first ones.
        on_progress: Called with the number of rows read so far.

    Returns:
        How many rows were kept.
    """
    if limit:
        frames = (
            [_sampled(frames, limit, sample_seed, on_progress)] if sample_seed is not None else _first(frames, limit)
        )
    with _Growing(path) as writer:
        for frame in frames:
            writer.write(frame)
            on_progress(writer.rows)
        writer.finish()
    return writer.rows


def batches(path: Path, columns: Iterable[str] | None = None, size: int = BATCH) -> Iterator[pd.DataFrame]:
    """The rows again, a batch at a time.

    Raises:
        WorkspaceError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=size, columns=list(columns) if columns is not None else None):
                names = zip(batch.schema.names, batch.columns, strict=True)
                yield pd.DataFrame({name: values.to_pylist() for name, values in names}, dtype=object)
    except (pa.ArrowException, OSError) as error:
        raise WorkspaceError(
            f"The project's file {path.name} is damaged and cannot be read. Load the data again to replace it."
        ) from error


def first_rows(path: Path, n: int) -> pd.DataFrame | None:
    """The first rows, or None where nothing was stored yet."""
    if not path.exists():
        return None
    found = next(batches(path, size=n), None)
    return found if found is not None else pd.DataFrame()


def n_rows(path: Path) -> int:
    """How many rows are stored."""
    return int(pq.read_metadata(path).num_rows) if path.exists() else 0


def _first(frames: Iterable[pd.DataFrame], limit: int) -> Iterator[pd.DataFrame]:
    left = limit
    for frame in frames:
        yield frame.head(left)
        left -= min(len(frame), left)
        if not left:
            return


def _sampled(frames: Iterable[pd.DataFrame], limit: int, seed: int, on_progress: Callable[[int], None]) -> pd.DataFrame:
    """A random sample in the rows' own order, whatever their number (Vitter 1985, algorithm R)."""
    dice = random.Random(seed)
    kept: list[tuple[int, dict[str, Any]]] = []
    count = 0
    for frame in frames:
        for row in frame.to_dict("records"):
            place = count if count < limit else dice.randrange(count + 1)
            entry = (count, {str(name): value for name, value in row.items()})
            if count < limit:
                kept.append(entry)
            elif place < limit:
                kept[place] = entry
            count += 1
        on_progress(count)
    return pd.DataFrame([row for _, row in sorted(kept, key=lambda entry: entry[0])], dtype=object)


class _Growing:
    """A parquet writer for rows whose columns are not all known from the start; as a context, it tidies up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.rows = 0
        self._aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._aside.unlink(missing_ok=True)

    def write(self, frame: pd.DataFrame) -> None:
        more = [name for name in frame.columns if name != NOT_TEXT and name not in self.columns]
        if more or self._writer is None:
            self._widen(more)
        self._write(frame)
        self.rows += len(frame)

    def finish(self) -> None:
        """Put what was written in its place."""
        self._close()
        replace_file(self._aside, self.path)

    def _write(self, frame: pd.DataFrame) -> None:
        assert self._writer is not None
        schema = self._schema()
        whole = frame.reindex(columns=schema.names, fill_value=None)
        arrays = [pa.array(whole[field.name], type=field.type, from_pandas=True) for field in schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def _schema(self) -> pa.Schema:
        return pa.schema([*((name, pa.string()) for name in self.columns), (NOT_TEXT, pa.list_(pa.string()))])

    def _widen(self, more: list[str]) -> None:
        """Begin anew with further columns, and write again what was written."""
        self._close()
        narrow = self._aside.with_name(f"{self._aside.name}.narrow")
        if self._aside.exists():
            self._aside.replace(narrow)
        self.columns += more
        self._file = self._aside.open("wb")
        self._writer = pq.ParquetWriter(self._file, self._schema())
        if narrow.exists():
            for frame in batches(narrow):
                self._write(frame)
            narrow.unlink()

    def _close(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._writer = self._file = None
