"""Reading rows: what people really bring, and what is wrong with it (FAULTS, data)."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_hub import COMMIT, hub_dataset, serving, use_hub

from rm_studio import flow, tables
from rm_studio.config import DataSource
from rm_studio.errors import DataError, HubError
from rm_studio.tables import hub
from rm_studio.workspace import Workspace


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("content", ["", "\n", "prompt,a,b\n"])
def test_a_csv_without_rows_says_so(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="no rows"):
        tables.read_file(write(tmp_path, "x.csv", content))


def test_latin1_is_read_right_and_mentioned(tmp_path: Path) -> None:
    text = "prompt,a,b\n" + "Où est le café ? Très près : à côté de l'hôtel.,déjà vu,là-bas\n" * 5
    table = tables.read_file(write(tmp_path, "x.csv", text.encode("latin-1")))
    assert table.frame["a"][0] == "déjà vu"
    assert "not UTF-8" in table.notes[0]


def test_another_alphabet_is_read_right_too(tmp_path: Path) -> None:
    text = "prompt,a,b\n" + "Где находится библиотека? Скажите пожалуйста!,да,нет\n" * 5
    assert tables.read_file(write(tmp_path, "x.csv", text.encode("cp1251"))).frame["a"][0] == "да"


def test_excel_s_utf16_and_semicolons_are_read(tmp_path: Path) -> None:
    table = tables.read_file(write(tmp_path, "x.csv", "prompt;a;b\nWas?;ä;ö\n".encode("utf-16")))
    assert table.frame["a"].tolist() == ["ä"]


def test_a_header_that_stands_twice_is_named(tmp_path: Path) -> None:
    table = tables.read_file(write(tmp_path, "x.csv", "prompt,a,a\n1,2,3\n"))
    assert "“a”" in table.notes[0]
    assert {"a", "a.1"} <= set(table.frame.columns)


def test_commas_quotes_and_newlines_within_cells_survive(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ['say "hi", please'], "a": ["x\n" * 100], "b": ["<script>alert(1)</script>"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    again = tables.read_file(tmp_path / "x.csv").frame
    assert again[["prompt", "a", "b"]].to_dict("records") == frame.to_dict("records")


def test_words_that_mean_nothing_to_pandas_stay_words(tmp_path: Path) -> None:
    frame = tables.read_file(write(tmp_path, "x.csv", "prompt,a,b\nNone,NA,\n")).frame
    assert frame.loc[0, ["prompt", "a", "b"]].tolist() == ["None", "NA", None]


def test_a_comma_at_the_end_of_each_line_shifts_nothing(tmp_path: Path) -> None:
    frame = tables.read_file(write(tmp_path, "x.csv", "prompt,a,b\nq1,x1,y1,\nq2,x2,y2,\n")).frame
    assert frame["prompt"].tolist() == ["q1", "q2"]


def test_commas_that_are_not_quoted_are_refused_not_shifted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must stand in quotes"):
        tables.read_file(write(tmp_path, "x.csv", "prompt,a,b\nWhy, oh why?,x,y\nWell, well,x,y\n"))


def test_line_separators_within_a_string_are_text(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "a\u2028b\u0085c", "a": "x", "b": "y"}, ensure_ascii=False)
    assert tables.read_file(write(tmp_path, "x.jsonl", row)).frame["prompt"][0] == "a\u2028b\u0085c"


def test_a_ragged_csv_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3"):
        tables.read_file(write(tmp_path, "x.csv", "prompt,a,b\n1,2,3\n1,2,3,4,5\n"))


def test_json_with_its_rows_nested_is_found_and_said(tmp_path: Path) -> None:
    content = json.dumps({"version": 1, "data": [{"prompt": "p", "a": "x", "b": "y"}]})
    table = tables.read_file(write(tmp_path, "x.json", content))
    assert len(table.frame) == 1
    assert "“data”" in table.notes[0]


def test_json_as_columns_is_a_table_too(tmp_path: Path) -> None:
    table = tables.read_file(write(tmp_path, "x.json", json.dumps({"prompt": ["p", "q"], "a": ["x", "y"]})))
    assert table.frame["prompt"].tolist() == ["p", "q"]


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", "nonsense", '"text"'])
def test_json_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError):
        tables.read_file(write(tmp_path, "x.json", content))


def test_a_broken_line_of_jsonl_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Line 2"):
        tables.read_file(write(tmp_path, "x.jsonl", '{"a": "1"}\n{"a": \n'))


def test_a_damaged_parquet_is_named_without_its_path(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    pd.DataFrame({"a": ["x"] * 1000}).to_parquet(good)
    with pytest.raises(DataError, match=r"cut\.parquet") as caught:
        tables.read_file(write(tmp_path, "cut.parquet", good.read_bytes()[:-50]))
    assert str(tmp_path) not in str(caught.value)


def test_another_kind_of_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Use one of"):
        tables.read_file(write(tmp_path, "x.docx", "x"))
    with pytest.raises(DataError, match="could not be opened"):
        tables.read_file(tmp_path / "gone.csv")


def test_a_picture_with_another_ending_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a table but a picture"):
        tables.read_file(write(tmp_path, "x.csv", b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe"))


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rm_studio.tables.files.MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="limit"):
        tables.read_file(write(tmp_path, "x.csv", "prompt,a,b\n1,2,3\n"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_over_the_limit_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("rm_studio.tables.reading.MAX_ROWS", 5)
    frame = pd.DataFrame({"prompt": [str(i) + "x" for i in range(30)]})
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    table = tables.read_file(path)
    assert len(table.frame) == 5
    assert "first 5 rows" in table.notes[-1]


def test_cells_that_are_no_text_are_kept_and_marked(tmp_path: Path) -> None:
    rows = '{"prompt": "p", "a": 42, "b": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}'
    frame = tables.read_file(write(tmp_path, "x.jsonl", rows)).frame
    assert frame["a"][0] == "42"
    assert isinstance(frame["b"][0], str)
    assert frame[tables.NOT_TEXT][0] == ["a", "b"]


def test_half_an_emoji_does_not_break_storage(tmp_path: Path) -> None:
    frame = tables.read_file(write(tmp_path, "x.jsonl", '{"prompt": "\\ud83d", "a": "x", "b": "y"}')).frame
    frame.to_parquet(tmp_path / "x.parquet")


def test_the_preview_is_short_however_long_the_cell(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["x" * 1_000_000], "a": ["nul\x00l"], tables.NOT_TEXT: [[]]}, dtype=object)
    shown = tables.preview(frame)
    assert len(shown["prompt"][0]) <= 301
    assert "\x00" not in shown["a"][0]
    assert tables.NOT_TEXT not in shown


@pytest.mark.parametrize(
    "name",
    [
        "csv",
        "../../etc/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
        "http://169.254.169.254/x",
        "zip::http://x/y",
    ],
)
def test_only_owner_slash_name_is_a_dataset_of_the_hub(name: str) -> None:
    with pytest.raises(HubError, match="owner/name"):
        tables.read_hub(DataSource(kind="hub", name=name))


def test_no_network_is_said_with_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="upload a file or use the sample"):
        tables.read_hub(DataSource(kind="hub", name="some/dataset"))


def test_the_sample_has_prompts_of_seven_kinds_with_four_different_answers() -> None:
    frame = tables.read_sample().frame
    assert len(frame) >= 80
    assert frame["category"].nunique() == 7
    assert frame["prompt"].is_unique
    for row in frame.to_dict("records"):
        assert len({row[name] for name in ("helpful", "thin", "wrong", "poor")}) == 4


def test_a_dataset_of_the_hub_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"datasets/team/answers": hub_dataset(tmp_path / "repo")}) as hub:
        use_hub(monkeypatch, hub.url)
        frame = tables.read_hub(DataSource(kind="hub", name="team/answers")).frame
        assert frame["response-2"].tolist() == ["x", "y"]
        with pytest.raises(HubError, match="nosuchsplit"):
            tables.read_hub(DataSource(kind="hub", name="team/answers", split="nosuchsplit"))
        with pytest.raises(HubError, match="There is no dataset"):
            tables.read_hub(DataSource(kind="hub", name="team/missing"))


def test_the_hub_is_searched_looked_into_and_its_commit_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    with serving({"datasets/team/answers": hub_dataset(tmp_path / "repo")}) as served:
        use_hub(monkeypatch, served.url)
        assert hub.search("answ") == [hub.Found("team/answers", 7, False)]
        assert hub.search("nothing") == []
        assert hub.parts("team/answers") == hub.Parts({"default": ["train"]}, COMMIT)
        source = DataSource(kind="hub", name="team/answers")
        assert hub.first_rows(source, n=1)["prompt"].tolist() == ["p"]
        project = workspace.create("Pinned")
        flow.load_table(project, source)
        assert project.info.source is not None and project.info.source.revision == COMMIT
        assert tables.n_rows(project.table) == 2


def test_without_a_network_searching_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="could not be reached"):
        hub.search("words")
    for name in ("../../etc/passwd", "http://169.254.169.254/x"):
        with pytest.raises(HubError, match="owner/name"):
            hub.parts(name)
        with pytest.raises(HubError, match="owner/name"):
            hub.first_rows(DataSource(kind="hub", name=name))
