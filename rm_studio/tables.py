"""Read rows: from the Hub, from an uploaded file, or from the sample. What the columns mean comes later (`data`)."""

import csv
import io
import itertools
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import huggingface_hub
import pandas as pd
import pyarrow.parquet as pq
from charset_normalizer import from_bytes

from rm_studio import assets
from rm_studio.config import DataSource
from rm_studio.errors import DataError, HubError

MAX_FILE_BYTES = 200 * 1024**2
MAX_ROWS = 200_000
HUB_LIMIT_S = 5.0
FILE_TYPES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
NOT_TEXT = "_not_text"  # names the columns of a row whose cell was no text before it was stored
DATASET_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


class Table(NamedTuple):
    """Rows as they were read, and what a person should know about how they were read."""

    frame: pd.DataFrame
    notes: list[str]


def read_file(path: Path, name: str | None = None) -> Table:
    """Read a CSV, TSV, JSONL, JSON or Parquet file.

    Args:
        path: The file.
        name: What its owner calls it; messages use this and never the path.

    Raises:
        DataError: it is empty, damaged, too large, or of another kind.
    """
    name = name or path.name
    suffix = path.suffix.lower()
    if suffix not in FILE_TYPES:
        raise DataError(f"“{name}” is not a file that can be read here. Use one of: {', '.join(FILE_TYPES)}.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"“{name}” could not be opened. Check that it is there, and choose it again.") from error
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"“{name}” has {size / 1024**2:,.0f} MB; the limit is {MAX_FILE_BYTES / 1024**2:,.0f} MB. "
            "Put a part of it in a smaller file, or load it from the Hub."
        )
    if size == 0:
        raise DataError(f"“{name}” has no rows: the file is empty.")
    if suffix == ".parquet":
        return _finish(_read_parquet(path, name), [], name)
    text, notes = _decode(path.read_bytes(), name)
    if suffix in (".csv", ".tsv"):
        frame, more = _read_csv(text, name)
    elif suffix == ".jsonl":
        frame, more = _from_rows(_json_lines(text, name)), []
    else:
        frame, more = _read_json(text, name)
    return _finish(frame, notes + more, name)


def read_hub(source: DataSource, token: str | None = None) -> Table:
    """Read a dataset of the Hugging Face Hub, row by row, up to ``MAX_ROWS``.

    Args:
        source: ``owner/name``, optional configuration, and split. Nothing else is a dataset here: no
            path, no address, no builder such as ``csv`` that would open local files.
        token: Only for a private or gated dataset; used for this call and kept nowhere.

    Raises:
        HubError: no such dataset, configuration or split, no permission, or no network.
    """
    if not DATASET_NAME.fullmatch(source.name):
        raise HubError(f"“{source.name}” is not the name of a dataset on the Hub. It looks like owner/name.")
    unreachable = HubError(
        f"“{source.name}” could not be loaded: the Hugging Face Hub could not be reached. Check your Internet "
        "connection and try again. Without one, upload a file or use the sample."
    )
    try:  # asked first, because datasets itself tries again for half a minute
        httpx.head(huggingface_hub.constants.ENDPOINT, timeout=HUB_LIMIT_S)
    except httpx.HTTPError as error:
        raise unreachable from error
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        stream = load_dataset(
            source.name,
            name=source.config or None,
            split=source.split or "train",
            revision=source.revision,
            token=token or None,
            streaming=True,
        )
        rows = list(itertools.islice(stream, MAX_ROWS + 1))
    except DatasetNotFoundError as error:
        raise HubError(
            f"There is no dataset “{source.name}” on the Hub, or it is private. Check the spelling; for a private "
            "one, paste a token that may read it."
        ) from error
    except ConnectionError as error:
        raise unreachable from error
    except ValueError as error:  # datasets names the configurations and splits that there are
        raise HubError(f"“{source.name}” cannot be read so: {_first_line(error)}.") from error
    except Exception as error:
        raise HubError(
            f"“{source.name}” was found, but its files could not be read ({type(error).__name__}). Download them from "
            "its page and load them as a file."
        ) from error
    return _finish(_from_rows(rows), [], source.name)


def read_sample() -> Table:
    """The sample project's prompts, each with four answers of different quality."""
    return read_file(assets.path("sample/prompts.jsonl"), "the sample")


def read(source: DataSource, file: Path | None = None, token: str | None = None) -> Table:
    """Read whatever ``source`` describes; ``file`` is where an uploaded one lies."""
    if source.kind == "hub":
        return read_hub(source, token)
    if source.kind == "sample":
        return read_sample()
    if file is None:
        raise DataError("Choose a file first.")
    return read_file(file, source.name)


def preview(frame: pd.DataFrame, rows: int = 20, width: int = 300) -> pd.DataFrame:
    """The first rows with every cell as short text, safe to hand to a page."""
    shown = frame.drop(columns=NOT_TEXT, errors="ignore").head(rows)
    return shown.map(lambda value: shorten(value, width))


def shorten(value: Any, width: int = 300) -> str:
    """A cell as text of at most ``width`` characters; empty for nothing."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    text = value[: width + 1] if isinstance(value, str) else str(value)[: width + 1]
    text = text.replace("\x00", "�")
    return text if len(text) <= width else f"{text[:width]}…"


def _decode(content: bytes, name: str) -> tuple[str, list[str]]:
    """Text of a file: UTF-8 if it is, else the likeliest encoding, and then a note that says which."""
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    if content.startswith((b"\x89PNG", b"PK\x03\x04", b"%PDF", b"\xff\xd8\xff", b"GIF8")):
        raise DataError(f"“{name}” is not a table but a picture, a document or an archive with another ending.")
    for encoding in ("utf-8-sig", "utf-16") if utf16 else ("utf-8-sig",):
        try:
            return content.decode(encoding), []
        except UnicodeDecodeError:
            continue
    # Western files are by far the commonest, and short ones look like many encodings: that one is asked about first.
    start = content[:1_000_000]
    guess = from_bytes(start, cp_isolation=["cp1252"]).best() or from_bytes(start).best()
    if guess is None:
        raise DataError(f"The text encoding of “{name}” was not recognised. Save it as UTF-8 and choose it again.")
    note = f"“{name}” is not UTF-8; it was read as {guess.encoding}. Check accents and quotes in the preview."
    return content.decode(guess.encoding, errors="replace"), [note]


def _read_csv(text: str, name: str) -> tuple[pd.DataFrame, list[str]]:
    if not text.strip():
        raise DataError(f"“{name}” has no rows: the file is empty.")
    notes = []
    first_line = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(",;\t|", key=first_line.count)
    csv.field_size_limit(2**31 - 1)
    header = next(csv.reader(io.StringIO(text), delimiter=delimiter))
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        named = ", ".join(f"“{column}”" for column in twice)
        notes.append(f"The column {named} stands more than once; the second is called “{twice[0]}.1”, and so on.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields beyond the header would be dropped
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                nrows=MAX_ROWS + 1,
                on_bad_lines="error",
                index_col=False,  # else a field too many in each row would shift all columns
            )
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
    return frame, notes


def _json_lines(text: str, name: str) -> Iterator[Any]:
    lines = (line for line in text.split("\n") if line.strip())  # splitlines would cut within strings
    for number, line in enumerate(itertools.islice(lines, MAX_ROWS + 1), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DataError(
                f"Line {number} of “{name}” is not JSON. A .jsonl file has one complete JSON object on each line."
            ) from error


def _read_json(text: str, name: str) -> tuple[pd.DataFrame, list[str]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"“{name}” is not valid JSON. If it has one object on each line, call it .jsonl.") from error
    if isinstance(content, list):
        return _from_rows(content), []
    lists = (
        {key: value for key, value in content.items() if isinstance(value, list)} if isinstance(content, dict) else {}
    )
    tables = {key: rows for key, rows in lists.items() if rows and all(isinstance(row, dict) for row in rows)}
    if tables:
        key, rows = max(tables.items(), key=lambda item: len(item[1]))
        return _from_rows(rows), [f"The rows were found under “{key}”."]
    if lists and len({len(value) for value in lists.values()}) == 1:
        return pd.DataFrame(lists, dtype=object), []
    raise DataError(f"“{name}” holds no list of rows. It should be a list of objects, one a row.")


def _read_parquet(path: Path, name: str) -> pd.DataFrame:
    try:
        with pq.ParquetFile(path) as file:
            rows: list[Any] = []
            for batch in file.iter_batches(batch_size=10_000):
                rows.extend(batch.to_pylist())
                if len(rows) > MAX_ROWS:
                    break
            return pd.DataFrame(rows, columns=file.schema_arrow.names, dtype=object)
    except Exception as error:  # pyarrow raises a dozen kinds for a damaged file
        raise DataError(f"“{name}” is damaged or not a Parquet file. Download or export it again.") from error


def _from_rows(rows: Iterable[Any]) -> pd.DataFrame:
    listed = list(rows)
    if not all(isinstance(row, dict) for row in listed):
        raise DataError("The rows are not objects with named fields. Each row needs names such as “prompt”.")
    return pd.DataFrame(listed, dtype=object)


def _finish(frame: pd.DataFrame, notes: list[str], name: str) -> Table:
    """Check that there is something, bound it, and make every cell text, noting which were not."""
    if frame.empty:
        raise DataError(f"“{name}” has no rows.")
    if len(frame) > MAX_ROWS:
        frame = frame.head(MAX_ROWS)
        notes = [*notes, f"Only the first {MAX_ROWS:,} rows were read; the rest was left out."]
    frame = frame.rename(columns=str).reset_index(drop=True)
    odd: list[list[str]] = [[] for _ in range(len(frame))]
    columns: dict[str, list[str | None]] = {}
    for column in frame.columns:
        values: list[str | None] = []
        for row, value in enumerate(frame[column]):
            if isinstance(value, str):  # half a surrogate pair cannot be stored as UTF-8
                values.append(value.encode("utf-8", "replace").decode())
            elif value is None or (isinstance(value, float) and pd.isna(value)):
                values.append(None)
            else:
                values.append(json.dumps(value, ensure_ascii=False, default=str))
                odd[row].append(column)
        columns[column] = values
    return Table(pd.DataFrame({**columns, NOT_TEXT: odd}, dtype=object), notes)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
