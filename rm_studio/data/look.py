"""A look at the comparisons before anybody reads them: what is there, and what to notice about it."""

import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

LOOKED_AT = 20_000  # comparisons, evenly spread: more change no share that is shown
LETTERS = 200  # of each prompt, to tell its script
RATIO = 1.5  # from here on one source's answers are called longer
MOST = 12  # bars of a chart
SCRIPTS = {"CJK": "Chinese or Japanese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


class Chart(NamedTuple):
    """Bars with their values, and one line on what to notice; ``unit`` is what is counted."""

    title: str
    unit: str
    bars: list[tuple[str, float]]
    notice: str


def charts(comparisons: pd.DataFrame) -> list[Chart]:
    """The charts that have something to show for these comparisons (`data.COMPARISON_COLUMNS`)."""
    frame = comparisons.iloc[:: max(1, len(comparisons) // LOOKED_AT)]
    found = [_lengths(frame), _answers(comparisons), _categories(comparisons), _scripts(frame)]
    return [chart for chart in found if chart]


def _lengths(frame: pd.DataFrame) -> Chart | None:
    words: dict[str, list[int]] = {}
    for sources, responses in zip(frame["sources"], frame["responses"], strict=True):
        for source, response in zip(sources, responses, strict=True):
            words.setdefault(source, []).append(len(response.split()))
    medians = {source: statistics.median(counts) for source, counts in words.items()}
    shown = sorted(medians.items(), key=lambda item: -item[1])[:MOST]
    if len(shown) < 2:
        return None
    (longest, most), (shortest, least) = shown[0], min(medians.items(), key=lambda item: item[1])
    if most < RATIO * max(least, 1):
        notice = "The sources write about equally long answers: length alone will not tell them apart."
    else:
        times = most / max(least, 1)
        notice = (
            f"Answers from “{shortest}” are {times:.1f} times shorter than those from “{longest}”: annotators and the "
            "model may learn length instead of quality."
        )
    return Chart("Length of the answers by source", "words (median)", [(name, value) for name, value in shown], notice)


def _answers(frame: pd.DataFrame) -> Chart | None:
    per_prompt = Counter(frame["prompt"].value_counts().tolist())
    bars = [(f"{n} comparison{'s' if n > 1 else ''}", float(count)) for n, count in sorted(per_prompt.items())[:MOST]]
    prompts = per_prompt.total()
    if set(per_prompt) == {1}:
        notice = f"Each of the {prompts:,} prompts is compared once."
    else:
        notice = (
            f"{len(frame):,} comparisons over {prompts:,} prompts. Those of one prompt stay together when some are "
            "held out for testing."
        )
    return Chart("Comparisons of each prompt", "prompts", bars, notice)


def _categories(frame: pd.DataFrame) -> Chart | None:
    counts = frame["category"].dropna().value_counts()
    if len(counts) < 2:
        return None
    share = counts.iloc[0] / len(frame)
    notice = (
        f"“{counts.index[0]}” makes {share:.0%} of the comparisons: the model will know it best."
        if counts.iloc[0] > RATIO * counts.median()
        else "The categories are about equally large."
    )
    return Chart("Categories", "comparisons", [(str(name), float(n)) for name, n in counts.head(MOST).items()], notice)


def _scripts(frame: pd.DataFrame) -> Chart | None:
    counts = Counter(script(prompt) for prompt in frame["prompt"])
    if len(counts) < 2:
        return None
    common, n = counts.most_common(1)[0]
    notice = (
        f"{n / counts.total():.0%} of the prompts are in {common} letters. The base model must know the others too; "
        "the built-in one knows English only."
    )
    return Chart(
        "Scripts of the prompts", "prompts", [(name, float(n)) for name, n in counts.most_common(MOST)], notice
    )


def script(text: str) -> str:
    """The script that most letters of a text are in, such as Latin or Cyrillic, by their Unicode names."""
    letters: Iterable[str] = (letter for letter in text[: LETTERS * 2] if letter.isalpha())
    names = [unicodedata.name(letter, "OTHER").split()[0] for letter, _ in zip(letters, range(LETTERS), strict=False)]
    if not names:
        return "no"
    name = Counter(names).most_common(1)[0][0]
    return SCRIPTS.get(name, name.capitalize())
