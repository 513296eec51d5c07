"""The charts hold what was measured, and what it is to be held against."""

import pandas as pd
import pytest

from rm_studio.ui.charts import CHARTS, Options, Series, figure

ROWS = pd.DataFrame(
    [
        {"time": 0.0, "step": 0, "split": "eval", "loss": 0.7, "accuracy": 0.5, "pairs": 100},
        *(
            {"time": 6.0 * i, "step": i, "split": "train", "loss": 0.7 - 0.01 * i, "margin": 0.1 * i, "memory_gb": 1.0}
            for i in range(1, 11)
        ),
        {"time": 60.0, "step": 10, "split": "eval", "loss": 0.6, "accuracy": 0.8, "pairs": 100},
    ]
)


def test_a_chart_has_a_line_for_each_measure_and_the_baselines() -> None:
    loss = figure("loss", [Series("one", ROWS)], Options())
    assert [line.name for line in loss.data] == ["training pairs", "held-out pairs"]
    assert list(loss.data[1].x) == [0, 10] and list(loss.data[1].y) == [0.7, 0.6]
    accuracy = figure("accuracy", [Series("one", ROWS)], Options(), longer_wins=0.6, ceiling=0.9)
    words = [note.text for note in accuracy.layout.annotations]
    assert words == ["always the longer answer", "annotators with each other"]
    band = accuracy.data[1]
    assert band.fill == "toself" and min(band.y) < 0.5 < 0.8 < max(band.y)


def test_options_change_what_they_say() -> None:
    minutes = figure("loss", [Series("one", ROWS)], Options(axis="Minutes", log=True))
    assert list(minutes.data[1].x) == [0.0, 1.0] and minutes.layout.yaxis.type == "log"
    plain, smooth = (figure("margin", [Series("one", ROWS)], Options(smoothing=s)).data[0].y for s in (0, 0.9))
    assert smooth[-1] < plain[-1]
    assert figure("margin", [Series("one", ROWS)], Options(log=True)).layout.yaxis.type != "log"  # it may be negative


def test_runs_laid_over_each_other_are_told_apart() -> None:
    both = figure("loss", [Series("one", ROWS), Series("two", ROWS)], Options())
    assert [line.name for line in both.data][::2] == ["one · training pairs", "two · training pairs"]
    assert both.data[0].line.color != both.data[2].line.color


@pytest.mark.parametrize("name", CHARTS)
def test_a_run_that_has_measured_nothing_yet_gives_an_empty_chart(name: str) -> None:
    assert len(figure(name, [Series("one", ROWS[:0])], Options()).data) == 0
