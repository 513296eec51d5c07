"""The metrics file and the tutorial's table."""

import json
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


def test_a_course_reads_only_what_was_added_and_never_keeps_more_than_a_few_hundred_points(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    course = metrics.Course(path)
    assert course.look().empty
    sizes = []
    for begin in range(0, 20_000, 4_000):
        lines = [
            json.dumps({"time": step, "step": step, "epoch": step / 20_000, "split": "train", "loss": step % 2})
            for step in range(begin + 1, begin + 4_001)
        ]
        with path.open("a") as file:
            file.write("\n".join(lines) + '\n{"step": 1, "cut')
        sizes.append(len(course.look()))
        with path.open("r+") as file:
            file.truncate(path.stat().st_size - len('{"step": 1, "cut'))
    rows = course.look()
    assert max(sizes) <= metrics.MOST_POINTS
    assert rows["step"].iloc[-1] == 20_000 and rows["step"].is_monotonic_increasing
    assert rows["loss"].mean() == pytest.approx(0.5, abs=0.01)


def test_a_course_begins_anew_with_the_file_of_a_resumed_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 11):
        metrics.append(path, step, 0.0, "train", {"loss": 1.0})
    course = metrics.Course(path)
    assert len(course.look()) == 10
    metrics.forget_after(path, 4)
    assert list(course.look()["step"]) == [1, 2, 3, 4]
    metrics.append(path, 5, 0.0, "train", {"loss": 2.0})
    assert list(course.look()["step"]) == [1, 2, 3, 4, 5]


def test_several_pages_that_look_at_once_see_each_point_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "metrics.jsonl"
    course = metrics.Course(path)
    with ThreadPoolExecutor(8) as pages:
        for step in range(1, 61):
            metrics.append(path, step, 0.0, "train", {"loss": 1.0})
            list(pages.map(lambda _: course.look(), range(8)))
    assert list(course.look()["step"]) == list(range(1, 61))
