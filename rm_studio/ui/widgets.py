"""Small pieces of page, as HTML. Every text that comes from data is escaped here, at the last moment."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rm_studio import evaluation
from rm_studio.data.items import Item
from rm_studio.data.look import Chart
from rm_studio.jobs import JobStatus
from rm_studio.questions import Asked
from rm_studio.tables import shorten
from rm_studio.training.doctor import Advice
from rm_studio.training.runs import STATES, Status

PATHS = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s\"':]+)+[\\/]([^\\/\s\"':]+)")
LONGEST = 4000  # characters of one text in a preview


def escape(text: object) -> str:
    return html.escape(str(text).replace("\x00", "�"))


def heading(title: str, why: str) -> str:
    """A tab's title, and the one line on why it is there."""
    return f'<div class="rm-heading"><h2>{escape(title)}</h2><p>{escape(why)}</p></div>'


def note(text: str, kind: str = "info") -> str:
    """A short message: ``info``, ``good``, ``warn`` or ``bad``; nothing for an empty text."""
    role = "alert" if kind == "bad" else "status"
    return f'<div class="rm-note rm-{kind}" role="{role}">{escape(text)}</div>' if text else ""


def small(text: str) -> str:
    """A line of small print."""
    return f'<p class="rm-small">{escape(text)}</p>'


def empty(title: str, text: str) -> str:
    """What a part of a tab shows before there is anything to show."""
    return f'<div class="rm-empty"><strong>{escape(title)}</strong><p>{escape(text)}</p></div>'


def facts(items: Iterable[tuple[str, str]]) -> str:
    """A row of figures, each with what it counts."""
    cells = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in items)
    return f'<dl class="rm-facts">{cells}</dl>'


def duration(seconds: float | None) -> str:
    """Seconds in words."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def progress(done: int, total: int, words: str) -> str:
    """A progress bar with its words below."""
    share = done / total if total else 0.0
    label = f"{done:,} of {total:,}"
    return (
        f'<div class="rm-progress" role="progressbar" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}" '
        f'aria-label="{escape(label)}"><span style="width:{share:.1%}"></span></div>{small(words)}'
    )


def job(status: JobStatus, unit: str) -> str:
    """How a job stands."""
    if status.state == "none":
        return ""
    if status.state == "running":
        if not status.total:
            return note(status.message)
        pace = f" · {status.rate:,.0f} {unit} a second" if status.rate else ""
        left = f" · {duration(status.eta_s)} left" if status.eta_s is not None else ""
        return progress(status.done, status.total, f"{status.message} {status.done:,} of {status.total:,}{pace}{left}")
    kind = {"done": "good", "stopped": "warn", "interrupted": "warn"}.get(status.state, "bad")
    when = f" ({datetime.fromtimestamp(status.ended_at):%H:%M})" if status.ended_at else ""
    return note(status.message + when, kind)


def measured(report: dict[str, Any] | None) -> str:
    """What a run's report says: reassuring only when the numbers are."""
    if report is None:
        return ""
    return note(evaluation.reading(report), "good" if evaluation.is_convincing(report) else "warn")


def ledger(content: dict[str, Any] | None, kept_as: str) -> str:
    """One step's row ledger in a sentence and a list of reasons."""
    if not content:
        return ""
    left_out = content["read"] - content["kept"]
    head = facts(
        [
            (f"{content['unit']} read", f"{content['read']:,}"),
            (kept_as, f"{content['kept']:,}"),
            ("left out", f"{left_out:,}"),
        ]
    )
    reasons = "".join(
        f"<li><strong>{item['count']:,}</strong> {escape(item['reason'])}</li>" for item in content["dropped"]
    )
    return head + (f'<ul class="rm-reasons">{reasons}</ul>' if reasons else "")


def ledger_rows(content: dict[str, Any] | None) -> list[list[str]]:
    """The rows behind the ledger's counts: reason, row, beginning of the text."""
    dropped = (content or {}).get("dropped", [])
    return [[item["reason"], str(row["row"]), row["text"]] for item in dropped for row in item["rows"]]


def examples(items: Sequence[Item]) -> str:
    """Some rows as annotators would see them, with what was judged about them already."""
    cards = []
    for item in items:
        if item.problem or not item.answers:
            cards.append(
                f'<article class="rm-example"><p class="rm-small">Row {escape(item.row)}: '
                f"{escape(item.problem or 'no answers')}</p></article>"
            )
            continue
        ranks = item.votes[0].ranks if item.votes else []
        answers = "".join(
            f"<section><h5>Answer {place}"
            f"{_judged(ranks, place - 1)}</h5>"
            f'<div class="rm-text" dir="auto">{escape(shorten(answer.text, 400)) or "<em>empty</em>"}</div></section>'
            for place, answer in enumerate(item.answers[:6], start=1)
        )
        cards.append(
            f'<article class="rm-example"><h4>Row {escape(item.row)}</h4>'
            f'<div class="rm-text" dir="auto">{escape(shorten(item.prompt, 400))}</div>'
            f'<div class="rm-answers">{answers}</div></article>'
        )
    return f'<div class="rm-examples">{"".join(cards)}</div>'


def _judged(ranks: Sequence[int | None], place: int) -> str:
    """What a vote says of one answer, as a badge."""
    if not ranks or place >= len(ranks) or ranks[place] is None:
        return ""
    if ranks.count(1) > 1 and ranks[place] == 1:
        return ' <span class="rm-badge rm-state-stopped">tied for best</span>'
    return ' <span class="rm-badge rm-state-completed">judged best</span>' if ranks[place] == 1 else ""


def bars(chart: Chart) -> str:
    """A chart of bars, with the line on what to notice."""
    most = max((value for _, value in chart.bars), default=0.0) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escape(shorten(name, 40))}</th>'
        f'<td><span class="rm-bar"><span style="width:{value / most:.1%}"></span></span></td><td>{value:,.0f}</td></tr>'
        for name, value in chart.bars
    )
    return (
        f'<figure class="rm-figure"><table class="rm-bars"><caption>{escape(chart.title)} '
        f"<small>{escape(chart.unit)}</small></caption>{rows}</table>"
        f"<figcaption>{escape(chart.notice)}</figcaption></figure>"
    )


def comparison(prompt: str, answers: Sequence[str], asked: Sequence[Asked]) -> str:
    """One comparison as an annotator sees it in Argilla: the texts on the left, the questions beside them, to try."""
    fields = [
        ("Instruction", prompt),
        *((f"Answer {place}", text) for place, text in enumerate(answers, start=1)),
    ]
    texts = "".join(
        f'<section><h4>{label}</h4><div class="rm-text" dir="auto">{escape(shorten(text, LONGEST))}</div></section>'
        for label, text in fields
    )
    controls = "".join(map(_control, asked))
    beside = f"<aside>{controls}</aside>" if asked else ""
    return f'<div class="rm-record{"" if asked else " rm-texts"}"><div class="rm-fields">{texts}</div>{beside}</div>'


def _control(asked: Asked) -> str:
    """A question as it stands beside the texts; what is chosen here goes nowhere."""
    name = escape(f"preview-{asked.name}")
    star = "" if asked.required else " <small>(optional)</small>"
    head = f"<legend>{escape(asked.title)}{star}</legend>"
    hint = f"<p>{escape(asked.hint)}</p>" if asked.hint else ""
    if asked.control == "text":
        field = f'<textarea rows="2" aria-label="{escape(asked.title)}"></textarea>'
    elif asked.control == "ranking":
        places = "".join(f"<option>{place}</option>" for place in range(1, len(asked.options) + 1))
        field = "".join(
            f'<label class="rm-rank"><span>{escape(words)}</span><select>{places}</select></label>'
            for words in asked.options.values()
        )
    else:
        kind = "checkbox" if asked.control == "labels" else "radio"
        shape = "rm-rating" if asked.control == "rating" else "rm-labels"
        options = "".join(
            f'<label><input type="{kind}" name="{name}"><span>{escape(words or value)}</span></label>'
            for value, words in asked.options.items()
        )
        field = f'<div class="{shape}">{options}</div>'
    return f"<fieldset>{head}{field}{hint}</fieldset>"


def advice(found: Sequence[Advice]) -> str:
    """What the doctor says, the most urgent first."""
    cards = "".join(
        f'<div class="rm-note rm-{one.kind}" role="{"alert" if one.kind == "bad" else "status"}">'
        f"<strong>{escape(one.title)}.</strong> {escape(one.text)}</div>"
        for one in found
    )
    return f'<div class="rm-doctor">{cards}</div>' if cards else ""


def short_model(name: str) -> str:
    """A base model's name without the machine's path."""
    return Path(name).name if Path(name).is_absolute() else name


def without_paths(line: str) -> str:
    """A line of a log with the folders of this machine taken out of it."""
    return PATHS.sub(r"\1", line)


def run_status(status: Status) -> str:
    """Where a training run is."""
    badge = f'<span class="rm-badge rm-state-{status.state}">{STATES[status.state]}</span>'
    if not status.is_active:
        return f'<div class="rm-run">{badge}<span>{escape(status.message)}</span></div>'
    if not status.total_steps:
        return f'<div class="rm-run">{badge}<span>{escape(status.message)}</span></div>'
    pace = f" · {status.rate:,.1f} pairs a second" if status.rate else ""
    left = f" · about {duration(status.eta_s)} left" if status.eta_s is not None else ""
    words = f"Step {status.step:,} of {status.total_steps:,}{pace}{left}"
    return f'<div class="rm-run">{badge}<span>{escape(status.message)}</span></div>' + progress(
        status.step, status.total_steps, words
    )


def verdict(scores: Sequence[float], chance: float, shortened: bool) -> str:
    """Two scores side by side, and which answer wins with what probability (``chance`` is the first answer's)."""
    winner = 0 if scores[0] >= scores[1] else 1
    sure = chance if winner == 0 else 1 - chance
    if scores[0] == scores[1]:
        sentence = "Both answers score the same: the model sees no difference."
    else:
        sentence = f"Answer {winner + 1} wins: the model expects {sure:.0%} of people to prefer it."
    cards = "".join(
        f'<div class="rm-score{" rm-winner" if place == winner and scores[0] != scores[1] else ""}">'
        f"<h4>Answer {place + 1}</h4><strong>{score:+.3f}</strong>"
        f'<div class="rm-bar"><span style="width:{share:.1%}"></span></div><p>{share:.0%} would choose it</p></div>'
        for place, (score, share) in enumerate(zip(scores, (chance, 1 - chance), strict=True))
    )
    cut = note("The text is longer than the model reads, so part of it was left out.", "warn") if shortened else ""
    verdict = f'<p class="rm-verdict" role="status">{sentence}</p><div class="rm-scores">{cards}</div>{cut}'
    return verdict + small(
        "Scores have no unit and may be negative; only the difference between two answers to the same prompt counts. "
        "The percentage is what the model expects, not a measured share."
    )
