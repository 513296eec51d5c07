"""The charts of training runs, as Plotly figures. Each has a title, axes and one line on how to read it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import pandas as pd

from rm_studio.preferences import wilson
from rm_studio.ui import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

Axis = Literal["Step", "Minutes"]
TEXT, GRID = "#8a8983", "rgba(128,128,128,0.22)"  # to be read on light and on dark
# https://plotly.com/python/reference/layout/#layout-modebar: what is left are zoom, pan, reset and the picture.
UNUSED_BUTTONS = ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]


class Chart(NamedTuple):
    """One chart: its title, how to read it, its columns with what their lines are called, and how values are shown."""

    title: str
    reading: str
    columns: dict[str, str]
    splits: tuple[str, ...]
    format: str
    may_be_log: bool = False


class Series(NamedTuple):
    """One run's metrics, as `metrics.read` gives them, and how it is called."""

    label: str
    rows: pd.DataFrame


class Options(NamedTuple):
    """How the charts are drawn: smoothing 0 … 1, logarithmic where it makes sense, and what runs along the bottom."""

    smoothing: float = 0.0
    log: bool = False
    axis: Axis = "Step"


CHARTS = {
    "loss": Chart(
        "Loss",
        "How wrong the model is: lower is better, 0.69 is a coin toss. If the held-out line turns up, it has begun to "
        "learn by heart.",
        {"loss": ""},
        ("train", "eval"),
        ".3f",
        may_be_log=True,
    ),
    "accuracy": Chart(
        "Held-out accuracy",
        "How often it prefers the answer that people chose, on prompts that it does not learn from. The band is "
        "the 95 % "
        "interval.",
        {"accuracy": ""},
        ("eval",),
        ".0%",
    ),
    "margin": Chart(
        "Margin",
        "How far apart the scores of the chosen and the rejected answer are, on average. It grows as the model gets "
        "surer.",
        {"margin": ""},
        ("train", "eval"),
        ".2f",
    ),
    "rewards": Chart(
        "Scores",
        "The lowest, mean and highest score. Negative scores are normal; only differences count.",
        {"min_reward": "lowest", "mean_reward": "mean", "max_reward": "highest"},
        ("train",),
        ".2f",
    ),
    "learning_rate": Chart(
        "Learning rate", "How large each correction is: up during the warm-up, then down.", {"learning_rate": ""},
        ("train",), ".1e", may_be_log=True,
    ),
    "speed": Chart("Tokens a second", "How fast it learns.", {"tokens_per_s": ""}, ("train",), ",.0f"),
    "machine": Chart(
        "Memory in GB", "The most used so far.", {"memory_gb": "memory", "gpu_use": "card busy (1 is all)"}, ("train",),
        ".2f",
    ),
}  # fmt: skip
SPLITS = {"train": "training pairs", "eval": "held-out pairs"}


def figure(
    name: str,
    series: Sequence[Series],
    options: Options,
    longer_wins: float | None = None,
    ceiling: float | None = None,
) -> "go.Figure":
    """One chart of one or several runs; the first is drawn strongest.

    Args:
        name: A key of ``CHARTS``.
        series: The runs; colours tell runs apart where there are several, else what was measured on.
        options: How to draw.
        longer_wins: For the accuracy: how often the longer answer wins (0 … 1).
        ceiling: For the accuracy: how often two annotators agree (0 … 1).
    """
    import plotly.graph_objects as go  # takes as long as all else together: the page is there before

    chart = CHARTS[name]
    found = go.Figure()
    for place, (label, rows) in enumerate(series):
        for split in chart.splits:
            part = rows[rows["split"] == split]
            for column_place, (column, words) in enumerate(chart.columns.items()):
                if column not in part or not part[column].notna().any():
                    continue
                shown = part[part[column].notna()]
                colour = theme.RUN_COLOURS[place % len(theme.RUN_COLOURS)]
                if len(series) == 1:
                    colour = {"train": theme.TRAIN_COLOUR, "eval": theme.HELD_OUT_COLOUR}[split]
                    colour = theme.RUN_COLOURS[column_place] if len(chart.columns) > 1 else colour
                called = " · ".join(filter(None, [label if len(series) > 1 else "", SPLITS[split], words]))
                smoothed = _smoothed(shown[column], options.smoothing) if split == "train" else shown[column]
                found.add_scatter(
                    x=_along(shown, rows, options.axis),
                    y=[float(value) for value in smoothed],
                    name=called,
                    mode="lines+markers" if split == "eval" else "lines",
                    line={"color": colour, "width": 2, "dash": "dot" if split == "train" and len(series) > 1 else None},
                    marker={"size": 6},
                )
                if name == "accuracy" and place == 0 and "pairs" in shown:
                    _add_interval(found, shown, rows, options.axis, colour)
    if name == "accuracy":
        lines = ((longer_wins, "always the longer answer"), (ceiling, "annotators with each other"))
        for value, words in lines:
            if value is not None and math.isfinite(value):
                found.add_hline(value, line={"color": TEXT, "dash": "dash", "width": 1}, annotation_text=words)
    found.update_layout(
        height=270,
        margin={"l": 48, "r": 12, "t": 40, "b": 40},
        title={"text": chart.title, "font": {"size": 15}, "x": 0.01, "y": 0.97},
        font={"family": ", ".join(theme.SANS), "size": 12, "color": TEXT},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        hoverlabel={"bgcolor": "#272623", "font": {"color": "#fafaf9"}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        showlegend=True,
        modebar={"remove": UNUSED_BUTTONS, "bgcolor": "rgba(0,0,0,0)", "color": TEXT, "orientation": "v"},
        uirevision=name,  # a zoom stays while points are added
    )
    found.update_xaxes(title=options.axis, gridcolor=GRID, zeroline=False, rangemode="tozero")
    found.update_yaxes(gridcolor=GRID, zeroline=False, tickformat=chart.format, hoverformat=chart.format)
    if options.log and chart.may_be_log:
        found.update_yaxes(type="log")
    return found


def _along(shown: pd.DataFrame, rows: pd.DataFrame, axis: Axis) -> list[float]:
    if axis == "Step":
        return [int(step) for step in shown["step"]]
    begun = float(rows["time"].min())
    return [round((float(time) - begun) / 60, 2) for time in shown["time"]]


def _smoothed(values: pd.Series, strength: float) -> pd.Series:
    """An exponential moving average, as TensorBoard's slider; ``strength`` 0 leaves the values alone."""
    return values.ewm(alpha=1 - min(strength, 0.99), adjust=True).mean() if strength else values


def _add_interval(found: "go.Figure", shown: pd.DataFrame, rows: pd.DataFrame, axis: Axis, colour: str) -> None:
    shares = [wilson(value * n, int(n)) for value, n in zip(shown["accuracy"], shown["pairs"], strict=True)]
    along = _along(shown, rows, axis)
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    found.add_scatter(
        x=[*along, *along[::-1]],
        y=[*(share.high for share in shares), *(share.low for share in shares[::-1])],
        mode="lines",
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.15)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
