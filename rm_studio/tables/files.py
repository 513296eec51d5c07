"""Files of each kind, and pasted text, as batches of rows."""

import codecs
import csv
import io
import itertools
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow.parquet as pq
from charset_normalizer import from_bytes

from rm_studio.errors import DataError
from rm_studio.tables.reading import Reading, from_rows

BATCH = 10_000  # rows
MAX_FILE_BYTES = 2 * 1024**3
WHOLE_BYTES = 300 * 1024**2  # of the kinds of files that cannot be read piece by piece
FILE_TYPES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NO_TABLES = (b"\x89PNG", b"PK\x03\x04", b"%PDF", b"\xff\xd8\xff", b"GIF8", b"\xd0\xcf\x11\xe0")


def opened(path: Path, name: str | None = None) -> Reading:
    """A CSV, TSV, JSONL, JSON, Parquet or Excel file, ready to be read.

    Args:
        path: The file.
        name: What its owner calls it; messages use this and never the path.

    Raises:
        DataError: it is empty, damaged, too large, or of another kind; now, or when its rows are read.
    """
    name = name or path.name
    suffix = path.suffix.lower()
    if suffix not in FILE_TYPES:
        raise DataError(f"“{name}” is not a file that can be read here. Use one of: {', '.join(FILE_TYPES)}.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"“{name}” could not be opened. Check that it is there, and choose it again.") from error
    limit = WHOLE_BYTES if suffix in (".json", ".xlsx") else MAX_FILE_BYTES
    if size > limit:
        raise DataError(
            f"“{name}” has {size / 1024**2:,.0f} MB; the limit for {suffix} is {limit / 1024**2:,.0f} MB. "
            "Save it as Parquet or CSV, put a part of it in a smaller file, or load it from the Hub."
        )
    if size == 0:
        raise DataError(f"“{name}” has no rows: the file is empty.")
    if suffix == ".parquet":
        return Reading(name, "Parquet", _parquet(path, name))
    if suffix == ".xlsx":
        return _excel(path, name)
    encoding, notes = _encoding(path, name)
    if suffix in (".csv", ".tsv"):
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            delimiter, more = _header(file, name)
        rows = _csv(path, name, delimiter, encoding)
        return Reading(name, f"{_called(encoding)}, separated by {DELIMITERS[delimiter]}", rows, notes + more)
    if suffix == ".jsonl":
        return Reading(name, f"JSON lines, {_called(encoding)}", _json_lines(path, name, encoding), notes)
    frame, more = _json(path.read_text(encoding=encoding, errors="replace"), name)
    return Reading(name, f"JSON, {_called(encoding)}", iter([frame]), notes + more)


def pasted(text: str) -> Reading:
    """A table out of the clipboard: cells from a spreadsheet, CSV, or JSON.

    Raises:
        DataError: nothing was pasted, or it is no table.
    """
    name = "the pasted table"
    if not text.strip():
        raise DataError("Nothing was pasted yet. Copy cells in a spreadsheet, headings included, and paste them here.")
    if text.lstrip()[0] in "[{":
        try:
            lines = [json.loads(line) for line in text.strip().split("\n")]
            frame, notes = from_rows(lines), list[str]()
        except (ValueError, DataError):
            frame, notes = _json(text, name)
        return Reading(name, "JSON", iter([frame]), notes)
    delimiter, notes = _header(io.StringIO(text), name)
    return Reading(name, f"separated by {DELIMITERS[delimiter]}", _csv(io.StringIO(text), name, delimiter), notes)


def _encoding(path: Path, name: str) -> tuple[str, list[str]]:
    """How a file's text is encoded: UTF-8 if it is, else the likeliest, and then a note that says which."""
    with path.open("rb") as file:
        start = file.read(1_000_000)
        if start.startswith(NO_TABLES):
            raise DataError(f"“{name}” is not a table but a picture, a document or an archive with another ending.")
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16", []
        decoder = codecs.getincrementaldecoder("utf-8")()
        piece = start
        try:
            while piece:
                decoder.decode(piece)
                piece = file.read(1_000_000)
            decoder.decode(b"", final=True)
            return "utf-8-sig", []
        except UnicodeDecodeError:
            pass
    # Western files are by far the commonest, and short ones look like many encodings: that one is asked about first.
    sample = piece or start
    guess = from_bytes(sample, cp_isolation=["cp1252"]).best() or from_bytes(sample).best()
    if guess is None:
        raise DataError(f"The text encoding of “{name}” was not recognised. Save it as UTF-8 and choose it again.")
    note = f"“{name}” is not UTF-8; it was read as {guess.encoding}. Check accents and quotes in the preview."
    return guess.encoding, [note]


def _called(encoding: str) -> str:
    return {"utf-8-sig": "UTF-8", "utf-16": "UTF-16"}.get(encoding, encoding)


def _header(file: io.TextIOBase, name: str) -> tuple[str, list[str]]:
    """The delimiter of a CSV, and a note on columns that stand twice."""
    csv.field_size_limit(2**31 - 1)
    first_line = next((line for line in file if line.strip()), "")
    if not first_line:
        raise DataError(f"“{name}” has no rows: the file is empty.")
    delimiter = max(DELIMITERS, key=first_line.count)
    header = next(csv.reader(itertools.chain([first_line], file), delimiter=delimiter))
    twice = sorted({column for column in header if header.count(column) > 1})
    if not twice:
        return delimiter, []
    named = ", ".join(f"“{column}”" for column in twice)
    return delimiter, [f"The column {named} stands more than once; the second is called “{twice[0]}.1”, and so on."]


def _csv(source: Path | io.StringIO, name: str, delimiter: str, encoding: str = "utf-8") -> Iterator[pd.DataFrame]:
    options: dict[str, Any] = {
        "sep": delimiter,
        "dtype": str,
        "keep_default_na": False,
        "na_values": [""],
        "on_bad_lines": "error",
        "index_col": False,  # else a field too many in each row would shift all columns
        "chunksize": BATCH,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields beyond the header would be dropped
            with pd.read_csv(source, encoding=encoding, encoding_errors="replace", **options) as reader:
                yield from reader
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"The rows of “{name}” have more fields than its first line has names. A text with a comma in it must "
            "stand in quotes: open the file in a spreadsheet and save it again as CSV."
        ) from error
    except (pd.errors.ParserError, ValueError) as error:
        where = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        what = f"line {where[2]} has {where[3]} fields instead of {where[1]}" if where else "its quotes do not match"
        raise DataError(
            f"“{name}” is not a regular table: {what}. Open it in a spreadsheet, check that line, and save it again as "
            "CSV."
        ) from error


def _json_lines(path: Path, name: str, encoding: str) -> Iterator[pd.DataFrame]:
    def parsed(file: Iterable[str]) -> Iterator[Any]:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"Line {number} of “{name}” is not JSON. A .jsonl file has one complete JSON object on each line."
                ) from error

    # Only \n ends a line: other line separators may stand within strings.
    with path.open(encoding=encoding, errors="replace", newline="\n") as file:
        found = parsed(file)
        while batch := list(itertools.islice(found, BATCH)):
            yield from_rows(batch)


def _json(text: str, name: str) -> tuple[pd.DataFrame, list[str]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"“{name}” is not valid JSON. If it has one object on each line, call it .jsonl.") from error
    if isinstance(content, list):
        return from_rows(content), []
    lists = (
        {key: value for key, value in content.items() if isinstance(value, list)} if isinstance(content, dict) else {}
    )
    tables = {key: rows for key, rows in lists.items() if rows and all(isinstance(row, dict) for row in rows)}
    if tables:
        key, rows = max(tables.items(), key=lambda item: len(item[1]))
        return from_rows(rows), [f"The rows were found under “{key}”."]
    if lists and len({len(value) for value in lists.values()}) == 1:
        return pd.DataFrame(lists, dtype=object), []
    raise DataError(f"“{name}” holds no list of rows. It should be a list of objects, one a row.")


def _parquet(path: Path, name: str) -> Iterator[pd.DataFrame]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                columns = zip(batch.schema.names, batch.columns, strict=True)
                yield pd.DataFrame({column: values.to_pylist() for column, values in columns}, dtype=object)
    except Exception as error:  # pyarrow raises a dozen kinds for a damaged file
        raise DataError(f"“{name}” is damaged or not a Parquet file. Download or export it again.") from error


def _excel(path: Path, name: str) -> Reading:
    from openpyxl import load_workbook

    file = path.open("rb")
    try:
        book = load_workbook(file, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if next(_sheet_rows(sheet), None)]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        file.close()
        raise DataError(f"“{name}” is damaged or not an Excel workbook. Save it again as .xlsx or CSV.") from error
    if not sheets:
        file.close()
        raise DataError(f"“{name}” has no rows: all its sheets are empty.")
    others = ", ".join(f"“{sheet.title}”" for sheet in sheets[1:])
    notes = [f"The sheet “{sheets[0].title}” was read. Not read: {others}."] if others else []
    return Reading(name, "Excel", _sheet(sheets[0], name, file), notes)


def _sheet_rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    return (row for row in sheet.iter_rows(values_only=True) if any(cell not in (None, "") for cell in row))


def _sheet(sheet: Any, name: str, file: IO[bytes]) -> Iterator[pd.DataFrame]:
    with file:
        found = _sheet_rows(sheet)
        header = next(found)
        names = [str(cell) if cell not in (None, "") else f"column {n}" for n, cell in enumerate(header, start=1)]
        if len(set(names)) < len(names):
            raise DataError(f"Two columns of “{name}” have the same heading. Give each its own, and save it again.")
        while batch := list(itertools.islice(found, BATCH)):
            yield pd.DataFrame(
                [(*row[: len(names)], *[None] * (len(names) - len(row))) for row in batch], columns=names, dtype=object
            )
