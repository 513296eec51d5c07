"""What annotators are asked: the form, with the guidelines, and how its fields make a `Question`."""

from typing import Any, NamedTuple

import gradio as gr

from rm_studio import assets
from rm_studio.config import Kind, Question
from rm_studio.questions import KINDS
from rm_studio.settings import parse_settings
from rm_studio.ui import widgets
from rm_studio.ui.session import friendly

FIELDS = Question.model_fields
NAMES = (
    "kind", "title", "description", "ties", "criteria", "points", "reasons", "reasons_required", "comment",
    "comment_required", "annotators", "use_markdown", "guidelines",
)  # fmt: skip
LINES = ("criteria", "reasons")  # one a line
STARTERS = {
    "General assistant": "general",
    "Support replies": "support",
    "Summaries": "summaries",
    "Code": "code",
    "Safety": "safety",
}
ANSWERED = (
    "What does better mean here, and what counts most?",
    "What makes an answer worse, whatever else is good about it?",
    "What should annotators not be swayed by?",
    "When should they discard, or say that it is a tie?",
    "May they look things up, and what should they do when they do not know?",
)
TITLES = {info.question for info in KINDS.values()}
HINTS = {info.hint for info in KINDS.values()}


class Form(NamedTuple):
    """The form's fields in the order of ``NAMES``; when its question is to be kept: on events, and after steps."""

    fields: list[Any]
    settled: list[Any]
    steps: list[Any]


class Guidelines(NamedTuple):
    """The text, as it will look, and the step after which it was replaced by a starting point."""

    text: gr.Textbox
    rendered: gr.Markdown
    started: Any


def guidelines_form() -> Guidelines:
    """Lay out the guidelines beside what they will look like, and wire them."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            starter = gr.Dropdown(
                [("your own words", ""), *STARTERS.items()],
                value="",
                label="Start the guidelines from",
                info="Replaces the text below. Then make it your own: name your product, your rules, your examples.",
            )
            guidelines = gr.Textbox(
                label=FIELDS["guidelines"].title, info=FIELDS["guidelines"].description, lines=14, max_lines=28
            )
            asked = "".join(f"<li>{widgets.escape(line)}</li>" for line in ANSWERED)
            gr.HTML(f'<div class="rm-small"><strong>Good guidelines answer:</strong><ul>{asked}</ul></div>')
        with gr.Column(scale=1, min_width=320):
            gr.HTML('<h3 class="rm-side">The guidelines as they will look</h3>')
            rendered = gr.Markdown(elem_classes="rm-card")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    started = starter.input(
        friendly(lambda name: starting_point(name) if name else gr.skip()), starter, guidelines, **quiet
    )
    guidelines.change(lambda text: text, guidelines, rendered, **quiet)
    return Guidelines(guidelines, rendered, started)


def question_form(guidelines: gr.Textbox) -> Form:
    """Lay out the form and wire what depends on its own fields only; ``guidelines`` is laid out elsewhere."""
    kind = gr.Radio(
        [(info.title, name) for name, info in KINDS.items()], value="best_of_two", label=FIELDS["kind"].title
    )
    when = gr.HTML(widgets.small(KINDS["best_of_two"].when))
    title = gr.Textbox(label=FIELDS["title"].title, info=FIELDS["title"].description)
    description = gr.Textbox(label=FIELDS["description"].title, info=FIELDS["description"].description, lines=2)
    ties = gr.Checkbox(label=FIELDS["ties"].title, info=FIELDS["ties"].description)
    criteria = gr.Textbox(
        label=FIELDS["criteria"].title,
        info=f"{FIELDS['criteria'].description} One on each line.",
        lines=3,
        visible=False,
    )
    points = gr.Radio([5, 7], value=5, label=FIELDS["points"].title, info=FIELDS["points"].description, visible=False)
    annotators = gr.Slider(1, 10, step=1, label=FIELDS["annotators"].title, info=FIELDS["annotators"].description)
    with gr.Accordion("Reasons, comments, Markdown", open=False):
        reasons = gr.Textbox(
            label=FIELDS["reasons"].title, info=f"{FIELDS['reasons'].description} One on each line.", lines=3
        )
        reasons_required = gr.Checkbox(label=FIELDS["reasons_required"].title)
        comment = gr.Checkbox(label=FIELDS["comment"].title)
        comment_required = gr.Checkbox(label=FIELDS["comment_required"].title)
        use_markdown = gr.Checkbox(label=FIELDS["use_markdown"].title, info=FIELDS["use_markdown"].description)
    fields = [
        kind, title, description, ties, criteria, points, reasons, reasons_required, comment, comment_required,
        annotators, use_markdown, guidelines,
    ]  # fmt: skip

    def choose_kind(kind: Kind, title: str, description: str) -> list[Any]:
        info = KINDS[kind]
        return [
            info.question if title in TITLES else gr.update(),
            info.hint if description in HINTS else gr.update(),
        ]

    def fit_to_kind(kind: Kind) -> list[Any]:
        return [
            widgets.small(KINDS[kind].when),
            gr.update(visible=kind in ("best_of_two", "best_of_many")),
            gr.update(visible=kind == "rating"),
            gr.update(visible=kind == "rating"),
        ]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    chosen = kind.input(choose_kind, [kind, title, description], [title, description], **quiet)
    kind.change(fit_to_kind, kind, [when, ties, criteria, points], **quiet)
    texts = [title, description, criteria, reasons, guidelines]
    ticks: list[Any] = [ties, points, reasons_required, comment, comment_required, use_markdown]
    settled = [text.blur for text in texts] + [tick.input for tick in ticks]
    return Form(fields, [*settled, annotators.release], [chosen])


def starting_point(name: str) -> str:
    """One of our guidelines to begin with."""
    return assets.path(f"guidelines/{name}.md").read_text(encoding="utf-8")


def question_of(*values: Any) -> Question:
    """The question that the fields describe.

    Raises:
        StudioError: a field is out of its bounds.
    """
    given = dict(zip(NAMES, values, strict=True))
    for name in LINES:
        given[name] = tuple(line.strip() for line in (given[name] or "").splitlines() if line.strip())
    question: Question = parse_settings(Question, given)
    return question


def values_of(question: Question) -> list[Any]:
    """What the fields show for a question."""
    return ["\n".join(getattr(question, name)) if name in LINES else getattr(question, name) for name in NAMES]
