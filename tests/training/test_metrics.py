"""The metrics file and the tutorial's table."""

from pathlib import Path

import pytest

from rm_studio.training import metrics


def test_lines_are_read_back_and_a_half_written_one_waits(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    metrics.append(file, 1, 0.1, "train", {"loss": 0.7})
    with file.open("a") as out:
        out.write('{"step": 2, "lo')
    frame = metrics.read(file)
    assert frame[["step", "split", "loss"]].to_dict("records") == [{"step": 1, "split": "train", "loss": 0.7}]


def test_no_file_is_an_empty_table(tmp_path: Path) -> None:
    assert metrics.read(tmp_path / "none").empty
    assert metrics.tutorial_table(metrics.read(tmp_path / "none")).empty


def test_the_table_pairs_each_evaluation_with_the_last_training_loss(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    metrics.append(file, 0, 0.0, "eval", {"loss": 0.69, "accuracy": 0.5})
    metrics.append(file, 1, 0.1, "train", {"loss": 0.6})
    metrics.append(file, 2, 0.2, "train", {"loss": 0.5})
    metrics.append(file, 2, 0.2, "eval", {"loss": 0.4, "accuracy": 0.9})
    table = metrics.tutorial_table(metrics.read(file))
    assert table["Step"].tolist() == [0, 2]
    assert table["Training loss"].tolist()[1] == pytest.approx(0.5)
    assert table["Accuracy"].tolist() == [0.5, 0.9]
