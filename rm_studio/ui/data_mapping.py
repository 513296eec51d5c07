"""What the columns mean and which comparisons are made of them, with three rows as annotators would see them."""

from typing import Any, NamedTuple

import gradio as gr

from rm_studio import data, flow, tables
from rm_studio.config import ColumnMapping, Selection, Shape, Verdict
from rm_studio.data.items import Item
from rm_studio.errors import StudioError
from rm_studio.settings import parse_settings
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio
from rm_studio.workspace import Project, read_json

FIELDS = ColumnMapping.model_fields
PARTS = Selection.model_fields
NONE = ""  # a drop-down cannot hold None as a choice
SHAPES: dict[Shape, str] = {
    "columns": "Side by side in columns",
    "chosen": "Chosen and rejected",
    "list": "A list in one column",
    "rows": "One answer a row",
}
VERDICTS: dict[Verdict, str] = {
    "none": "nothing beyond the columns above",
    "choice": "which is better (1 or 2, A or B, a tie)",
    "strength": "how much better: the chosen one, or the second (negative: the first)",
    "probability": "the probability that the chosen one, or the second, is better",
    "rating": "a rating of each answer",
}
PAIRINGS = {"all": "Every pair", "random": "Some pairs", "baseline": "Each against one", "together": "All at once"}
SURE = {"sure": "Recognised", "likely": "Probably", "unsure": "A guess"}
EXAMPLES = 3
CHOICES = (
    "pairing", "pairs_each", "baseline", "together", "limit", "longest", "stratified", "one_a_prompt", "others_as_text"
)  # fmt: skip


class Mapping(NamedTuple):
    """The form: ``fields`` in the order of `settings`, and the part of the page that holds it."""

    fields: list[gr.components.Component]
    view: list[gr.blocks.Block]


def mapping_view(studio: Studio) -> Mapping:
    """Lay out the form and wire what it shows."""
    with gr.Column(visible=False, elem_classes="rm-card") as part:
        gr.HTML(widgets.heading("Which column is what?", "Look at the three rows below; correct what is wrong."))
        why = gr.HTML()
        shape = gr.Radio(
            [(words, name) for name, words in SHAPES.items()],
            value="columns",
            label=FIELDS["shape"].title,
            info=FIELDS["shape"].description,
        )
        with gr.Row():
            prompt = _dropdown("prompt")
            answers = _dropdown("answers", many=True)
        with gr.Row():
            verdict = gr.Dropdown(
                [(words, name) for name, words in VERDICTS.items()],
                value="none",
                label=FIELDS["verdict"].title,
                min_width=260,
                info="Data that is judged already can be trained on at once, or judged again by people.",
            )
            verdict_in = _dropdown("verdict_in", many=True)
        with gr.Accordion("More columns: who answered, system prompt, category, id", open=False):
            with gr.Row():
                sources = _dropdown("sources", many=True)
                system = _dropdown("system")
            with gr.Row():
                category = _dropdown("category")
                row_id = _dropdown("id")
        examples = gr.HTML()
        with gr.Accordion("What to annotate: how many, and which", open=False):
            pairing = gr.Radio(
                [(words, name) for name, words in PAIRINGS.items()],
                value="all",
                label=PARTS["pairing"].title,
                info=PARTS["pairing"].description,
            )
            with gr.Row():
                pairs_each = _number("pairs_each", 1)
                baseline = gr.Dropdown(
                    [],
                    label=PARTS["baseline"].title,
                    info=PARTS["baseline"].description,
                    allow_custom_value=True,
                )
                together = _number("together", 2)
            with gr.Row():
                limit = _number("limit", 0)
                longest = _number("longest", 0)
            with gr.Row():
                stratified = _check("stratified")
                one_a_prompt = _check("one_a_prompt")
                others_as_text = _check("others_as_text")
    columns: list[Any] = [shape, prompt, answers, verdict, verdict_in, sources, system, category, row_id]
    choices = [pairing, pairs_each, baseline, together, limit, longest, stratified, one_a_prompt, others_as_text]
    fields: list[Any] = [*columns, *choices]
    view = [part, why, *fields, examples]

    def show(session: Session) -> list[Any]:
        project = studio.project(session)
        first = tables.first_rows(project.table, 1) if project else None
        if project is None or first is None:
            return [gr.update(visible=False), *[gr.update()] * (len(view) - 1)]
        names = data.columns_of(first)
        mapping = project.info.mapping or ColumnMapping()
        selection = project.info.selection
        optional = [("none", NONE), *((name, name) for name in names)]
        return [
            gr.update(visible=True),
            _why(project),
            mapping.shape,
            gr.update(choices=[("inside the answers", NONE), *names], value=mapping.prompt or NONE),
            gr.update(choices=names, value=list(mapping.answers)),
            mapping.verdict,
            gr.update(choices=names, value=list(mapping.verdict_in)),
            gr.update(choices=names, value=list(mapping.sources)),
            gr.update(choices=optional, value=mapping.system or NONE),
            gr.update(choices=optional, value=mapping.category or NONE),
            gr.update(choices=optional, value=mapping.id or NONE),
            selection.pairing,
            gr.update(value=selection.pairs_each, visible=selection.pairing == "random"),
            gr.update(
                choices=_sources(project, mapping),
                value=selection.baseline or None,
                visible=selection.pairing == "baseline",
            ),
            gr.update(value=selection.together, visible=selection.pairing == "together"),
            selection.limit,
            selection.longest,
            selection.stratified,
            selection.one_a_prompt,
            selection.others_as_text,
            _examples(project, mapping, selection.others_as_text),
        ]

    def show_examples(session: Session, *values: Any) -> Any:
        project = studio.project(session)
        if project is None:
            return gr.skip()
        try:
            mapping, selection = settings(*values)
            return _examples(project, mapping, selection.others_as_text)
        except StudioError as error:
            return widgets.note(str(error), "warn")

    def show_choices(session: Session, *values: Any) -> list[Any]:
        project = studio.project(session)
        pairing = values[len(columns)]
        try:
            sources = _sources(project, settings(*values)[0]) if project and pairing == "baseline" else []
        except StudioError:
            sources = []
        return [
            gr.update(visible=pairing == "random"),
            gr.update(visible=pairing == "baseline", choices=sources),
            gr.update(visible=pairing == "together"),
        ]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    studio.table_token.change(show, studio.session, view, **quiet)
    changes = [field.input for field in (*columns, others_as_text)]
    gr.on(changes, show_examples, [studio.session, *fields], examples, trigger_mode="always_last", **quiet)
    gr.on(
        [pairing.input, answers.input, sources.input],
        show_choices,
        [studio.session, *fields],
        [pairs_each, baseline, together],
        **quiet,
    )
    return Mapping(fields, view)


def settings(*values: Any) -> tuple[ColumnMapping, Selection]:
    """What the form says.

    Raises:
        StudioError: a field is out of its bounds.
    """
    shape, prompt, answers, verdict, verdict_in, sources, system, category, row_id, *choices = values
    mapping = ColumnMapping(
        shape=shape,
        prompt=prompt or None,
        answers=tuple(answers or ()),
        verdict=verdict,
        verdict_in=tuple(verdict_in or ()) if verdict != "none" else (),
        sources=tuple(sources or ()),
        system=system or None,
        category=category or None,
        id=row_id or None,
    )
    chosen = {name: value for name, value in zip(CHOICES, choices, strict=True) if value is not None}
    return mapping, parse_settings(Selection, chosen)


def _why(project: Project) -> str:
    known = (read_json(project.ledger) or {}).get("table") or {}
    if "why" not in known:  # loaded by an earlier version
        return ""
    if not known["why"]:
        text = "The columns were not recognised. Choose below how the answers are kept, and which column holds what."
        return widgets.note(text, "warn")
    return widgets.note(f"{SURE[known['sure']]}: {known['why']}", "good" if known["sure"] == "sure" else "warn")


def _examples(project: Project, mapping: ColumnMapping, others_as_text: bool) -> str:
    first = tables.first_rows(project.table, 50)
    if first is None:
        return ""
    try:
        data.check(data.columns_of(first), mapping)
    except StudioError as error:
        return widgets.note(str(error), "warn")
    found: list[Item] = []
    try:
        for item in data.items([first], mapping, others_as_text):
            found.append(item)
            if len([one for one in found if not one.problem]) == EXAMPLES:
                break
    except StudioError as error:
        return widgets.note(str(error), "warn")
    usable = [item for item in found if not item.problem] or found
    return widgets.examples(usable[:EXAMPLES])


def _sources(project: Project, mapping: ColumnMapping) -> list[str]:
    """Who wrote the answers of the first rows."""
    first = tables.first_rows(project.table, flow.FIRST_ROWS)
    try:
        if first is None:
            return []
        data.check(data.columns_of(first), mapping)
    except StudioError:
        return []
    return list(dict.fromkeys(answer.source for item in data.items([first], mapping) for answer in item.answers))


def _dropdown(field: str, many: bool = False) -> gr.Dropdown:
    info = FIELDS[field]
    # Custom values are let in because a page may still hold those of the table before; `data.check` names them.
    return gr.Dropdown(
        [],
        label=info.title,
        info=info.description,
        multiselect=many,
        interactive=True,
        allow_custom_value=True,
        min_width=260,
    )


def _number(field: str, value: int) -> gr.Number:
    return gr.Number(value, precision=0, label=PARTS[field].title, info=PARTS[field].description)


def _check(field: str) -> gr.Checkbox:
    return gr.Checkbox(PARTS[field].default, label=PARTS[field].title, info=PARTS[field].description)
