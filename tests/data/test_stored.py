"""Rows stored as they come: in batches, with columns that appear later, in part or as a sample."""

import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from rm_studio import tables
from rm_studio.config import DataSource
from rm_studio.errors import DataError
from rm_studio.tables.reading import Reading


def frames(n: int, size: int = 1000) -> Reading:
    return Reading("test", "", (pd.DataFrame({"prompt": range(i, min(i + size, n))}) for i in range(0, n, size)))


def stored(path: Path) -> list[str]:
    return pd.concat(list(tables.batches(path)))["prompt"].tolist()


def test_all_rows_are_there_again(tmp_path: Path) -> None:
    assert tables.store(tmp_path / "t.parquet", frames(2500).batches()) == 2500
    assert stored(tmp_path / "t.parquet") == [str(i) for i in range(2500)]
    assert tables.n_rows(tmp_path / "t.parquet") == 2500
    first = tables.first_rows(tmp_path / "t.parquet", 3)
    assert first is not None and first["prompt"].tolist() == ["0", "1", "2"]


def test_columns_that_appear_later_are_kept(tmp_path: Path) -> None:
    one, other = pd.DataFrame({"a": ["x"]}), pd.DataFrame({"b": ["y"], "a": [None]})
    tables.store(tmp_path / "t.parquet", Reading("test", "", iter([one, other, one])).batches())
    rows = pd.concat(list(tables.batches(tmp_path / "t.parquet")))
    assert rows["a"].tolist() == ["x", None, "x"] and rows["b"].tolist() == [None, "y", None]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_the_first_rows_or_a_sample_that_is_the_same_again(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert tables.store(path, frames(5000).batches(), limit=1500) == 1500
    assert stored(path)[-1] == "1499"
    tables.store(path, frames(5000).batches(), limit=100, sample_seed=1)
    sample = stored(path)
    assert sample == sorted(set(sample), key=int) and len(sample) == 100
    assert 1500 < sum(map(int, sample)) / 100 < 3500
    tables.store(path, frames(5000).batches(), limit=100, sample_seed=1)
    assert stored(path) == sample


def test_when_reading_fails_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    tables.store(path, frames(10).batches())
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x"}\n' * 20_000 + "broken")
    with pytest.raises(DataError, match="Line 20001"):
        tables.store(path, tables.open_source(DataSource(name="bad.jsonl"), (tmp_path / "bad.jsonl",)).batches())
    assert len(stored(path)) == 10


def test_several_files_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt;x\np;1\n")
    (tmp_path / "b.jsonl").write_text('{"prompt": "q", "y": "2"}')
    paths = (tmp_path / "a.csv", tmp_path / "b.jsonl")
    reading = tables.open_source(DataSource(name="a.csv and 1 more"), paths)
    tables.store(tmp_path / "t.parquet", reading.batches())
    assert stored(tmp_path / "t.parquet") == ["p", "q"]
    assert reading.how == "a.csv: UTF-8, separated by semicolons; b.jsonl: JSON lines, UTF-8"


def test_an_excel_workbook_is_read_from_its_first_sheet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["p", None], "a": ["é", 3], "b": ["y", "z"]})
    with pd.ExcelWriter(tmp_path / "x.xlsx") as book:
        frame.to_excel(book, sheet_name="Answers", index=False)
        frame.to_excel(book, sheet_name="Other", index=False)
    table = tables.read_file(tmp_path / "x.xlsx")
    assert table.frame["a"].tolist() == ["é", "3"] and table.frame["prompt"].tolist() == ["p", None]
    assert table.frame[tables.NOT_TEXT].tolist() == [[], ["a"]]
    assert "“Answers” was read" in table.notes[0] and "“Other”" in table.notes[0]
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(DataError, match="damaged"):
        tables.read_file(tmp_path / "bad.xlsx")


PASTED = [
    'prompt\ta\tb\np\tx\t"y\nz"\n',
    'prompt,a,b\np,x,"y\nz"\n',
    '[{"prompt": "p", "a": "x", "b": "y\\nz"}]',
]


@pytest.mark.parametrize("text", PASTED)
def test_a_table_is_pasted_from_a_spreadsheet_or_as_csv_or_json(text: str) -> None:
    (frame,) = tables.open_source(DataSource(kind="paste"), text=text).batches()
    assert frame[["prompt", "a", "b"]].values.tolist() == [["p", "x", "y\nz"]]


def test_nothing_pasted_is_said() -> None:
    with pytest.raises(DataError, match="Nothing was pasted"):
        tables.open_source(DataSource(kind="paste"), text="  ")


def test_memory_stays_flat_however_many_rows(tmp_path: Path) -> None:
    """Three hundred thousand rows of a kilobyte must not be in memory together (FAULTS 13)."""
    path = tmp_path / "big.jsonl"
    row = '{"prompt": "%s", "a": "x", "b": "y"}\n' % ("word " * 200)
    with path.open("w") as file:
        for _ in range(300):
            file.write(row * 1000)
    process = psutil.Process()
    before = process.memory_info().rss
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, process.memory_info().rss - before)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    tables.store(tmp_path / "t.parquet", tables.open_source(DataSource(name="big"), (path,)).batches())
    done.set()
    watcher.join()
    assert most < 150e6 < path.stat().st_size
    assert tables.n_rows(tmp_path / "t.parquet") == 300_000
