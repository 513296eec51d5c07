"""What a table is: recognised by its columns' names and what stands in them, with the reason and how sure that is."""

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from rm_studio.config import ColumnMapping, Verdict
from rm_studio.data import turns
from rm_studio.data.items import RATING_KEYS, SOURCE_KEYS, TEXT_KEYS, choice_of
from rm_studio.tables import NOT_TEXT

LOOKED_AT = 200  # rows
PROMPTS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "context",
    "user",
    "conversations",
    "messages",
)
SYSTEMS = ("system", "system_prompt")
IDS = ("id", "external_id", "prompt_id", "uid", "question_id")
CATEGORIES = ("category", "subset", "topic", "domain", "task", "source_dataset")
ANSWER = re.compile(r"response|answer|completion|output|reply|generation|chosen|rejected|conversation_[ab]", re.I)
CHOSEN = re.compile(r"(?:^|_)(?:chosen|preferred|accepted)(?:_(?:response|answer|messages))?$", re.I)
REJECTED = re.compile(r"(?:^|_)rejected(?:_(?:response|answer|messages))?$", re.I)
SOURCES = re.compile(r"model|source|generator|assistant", re.I)
RATINGS = ("rating", "overall_rating", "overall_score", "score", "helpfulness", "reward")
SCORE = re.compile(r"rating|score|reward|grade", re.I)
CHOICES = ("choose-best", "choose-best.responses", "choice", "winner", "preference", "preferred", "better", "label")
STRENGTHS = ("overall_preference", "preference_strength", "strength", "margin")
SAMPLE_ANSWERS = ("helpful", "thin", "wrong", "poor")

Sure = Literal["sure", "likely", "unsure"]


class Recognised(NamedTuple):
    """What a table seems to be: its mapping, the reason in a sentence, and how sure that is."""

    mapping: ColumnMapping
    why: str
    sure: Sure


def recognise(frame: pd.DataFrame) -> Recognised | None:
    """What a table probably is, by its first rows; None where no prompt with answers is found.

    Args:
        frame: Rows as `tables` reads them; the first ``LOOKED_AT`` are looked at.
    """
    return _Look(frame.head(LOOKED_AT)).recognised()


class _Look:
    """The first rows of a table, and the questions that recognition asks of them."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = [str(name) for name in frame.columns if name != NOT_TEXT]
        self.lower = {name.lower(): name for name in reversed(self.columns)}
        self.values = {
            name: [value for value in frame[name].tolist() if isinstance(value, str) and value.strip()]
            for name in self.columns
        }

    def recognised(self) -> Recognised | None:
        return (
            self._sample() or self._chosen() or self._list() or self._columns() or self._rows() or self._only_prompts()
        )

    def _first(self, names: Sequence[str]) -> str | None:
        return next((self.lower[name] for name in names if self.values.get(self.lower.get(name, ""))), None)

    def _common(self) -> dict[str, Any]:
        return {"system": self._first(SYSTEMS), "id": self._first(IDS), "category": self._first(CATEGORIES)}

    def _is_spoken(self, column: str, at_least: int = 1) -> bool:
        """Whether a column holds conversations of so many turns."""
        found = [turns.parse(value) for value in self.values[column][:50]]
        return bool(found) and sum(len(spoken or ()) >= at_least for spoken in found) >= 0.9 * len(found)

    def _is_words(self, column: str) -> bool:
        """Whether a column mostly holds words rather than numbers, lists or nothing."""
        texts = self.values[column][:50]
        if not texts or self._is_spoken(column):
            return bool(texts)
        return sum(not re.fullmatch(r"[-\d.,%\s]+", text) for text in texts) * 2 >= len(texts)

    def _numbers(self, column: str) -> list[float]:
        numbers = []
        for value in self.values[column]:
            try:
                numbers.append(float(value))
            except ValueError:
                return []
        return numbers

    def _sample(self) -> Recognised | None:
        if not all(name in self.columns for name in ("prompt", *SAMPLE_ANSWERS)):
            return None
        mapping = ColumnMapping(prompt="prompt", answers=SAMPLE_ANSWERS, category=self._first(CATEGORIES))
        return Recognised(mapping, "These are the sample’s columns.", "sure")

    def _chosen(self) -> Recognised | None:
        chosen = [name for name in self.columns if CHOSEN.search(name) and self._is_words(name)]
        rejected = [name for name in self.columns if REJECTED.search(name) and self._is_words(name)]
        if not chosen or not rejected:
            return None
        answers = (chosen[0], rejected[0])
        inside = all(self._is_spoken(name, at_least=2) for name in answers)
        prompt = None if inside else self._first(PROMPTS)
        if not inside and prompt is None:
            return None
        verdict, columns = self._verdict_on_chosen(answers)
        mapping = ColumnMapping(
            shape="chosen", prompt=prompt, answers=answers, verdict=verdict, verdict_in=columns, **self._common()
        )
        if inside:
            form = "transcripts" if not self.values[chosen[0]][0].lstrip().startswith(("[", "{")) else "chat messages"
            why = f"“{answers[0]}” and “{answers[1]}” are {form} with the prompt inside: what both begin with."
        else:
            form = ", as chat messages" if self._is_spoken(answers[0]) else ""
            why = f"There are columns for the prompt (“{prompt}”), the chosen and the rejected answer{form}."
        how = f" “{columns[0]}” says by how much." if columns else ""
        return Recognised(mapping, f"{why} They are judged already.{how}", "sure")

    def _verdict_on_chosen(self, answers: tuple[str, str]) -> tuple[Verdict, tuple[str, ...]]:
        if "p_chosen" in self.columns and self._numbers("p_chosen"):
            return "probability", tuple(name for name in ("p_chosen", "strength") if name in self.columns)
        strength = next((name for name in STRENGTHS if name in self.lower and self._numbers(self.lower[name])), None)
        if strength:
            return "strength", (self.lower[strength],)
        scored = [
            [name for name in self.columns if word in name.lower() and SCORE.search(name) and self._numbers(name)]
            for word in ("chosen", "rejected")
        ]
        if all(scored):
            return "rating", (scored[0][0], scored[1][0])
        return "none", ()

    def _list(self) -> Recognised | None:
        prompt = self._first(PROMPTS)
        for name in self.columns:
            lists = [_json_list(value) for value in self.values[name][:50]]
            if name == prompt or not lists or not all(lists) or self._is_spoken(name) or name.startswith(CHOICES):
                continue
            entries = [entry for found in lists for entry in found or []]
            texts = [_text_in(entry) for entry in entries]
            if prompt is None or not all(texts) or max(len(found or []) for found in lists) < 2:
                continue
            if not any(isinstance(entry, dict) for entry in entries) and not ANSWER.search(name) and len(lists) < 2:
                continue
            return self._list_in(name, prompt, entries)
        return None

    def _list_in(self, column: str, prompt: str, entries: list[Any]) -> Recognised:
        dicts = [entry for entry in entries if isinstance(entry, dict)]
        rated = bool(dicts) and all(any(_is_number(entry.get(key)) for key in RATING_KEYS) for entry in dicts)
        ratings = sources = None
        if not dicts:
            beside = [name for name in self.columns if name not in (column, prompt)]
            ratings = next((n for n in beside if n.lower().startswith(("rating", "score")) and self._lists(n)), None)
            sources = next((n for n in beside if SOURCES.search(n) and self._lists(n)), None)
        mapping = ColumnMapping(
            shape="list",
            prompt=prompt,
            answers=(column,),
            sources=(sources,) if sources else (),
            verdict="rating" if rated or ratings else "none",
            verdict_in=(ratings,) if ratings else (),
            **self._common(),
        )
        named = sources or any(key in entry for entry in dicts for key in SOURCE_KEYS)
        extras = [*["who wrote each"] * bool(named), *["how it was rated"] * bool(rated or ratings)]
        beside_that = f", with {' and '.join(extras)}" if extras else ""
        return Recognised(mapping, f"“{column}” holds a list of answers to “{prompt}”{beside_that}.", "sure")

    def _lists(self, column: str) -> bool:
        values = self.values[column][:50]
        return bool(values) and all(_json_list(value) for value in values)

    def _columns(self) -> Recognised | None:
        answers = [name for name in self.columns if ANSWER.search(name) and self._is_words(name)]
        inside = len(answers) >= 2 and all(self._is_spoken(name, at_least=2) for name in answers)
        prompt = None if inside else self._first([name for name in PROMPTS if self.lower.get(name) not in answers])
        choice = next((self.lower[name] for name in CHOICES if name in self.lower), None)
        answers = [name for name in answers if name not in (prompt, choice)]
        if choice:
            answers = [name for name in answers if not name.startswith(choice.removesuffix(".responses") + ".")]
        if len(answers) < 2 or (prompt is None and not inside):
            return None
        verdict, columns = self._verdict_beside(answers)
        mapping = ColumnMapping(
            prompt=prompt,
            answers=tuple(answers),
            sources=self._sources_of(answers),
            verdict=verdict,
            verdict_in=columns,
            **self._common(),
        )
        named = ", ".join(f"“{name}”" for name in answers[:-1]) + f" and “{answers[-1]}”"
        where = "Each answer is a conversation with the prompt inside" if inside else f"“{prompt}” is the prompt"
        judged = f" “{columns[0]}” says which is better." if columns else ""
        return Recognised(
            mapping, f"{where}, and {named} are answers side by side.{judged}", "sure" if not inside else "likely"
        )

    def _sources_of(self, answers: Sequence[str]) -> tuple[str, ...]:
        """Columns with each answer's model: as many, called alike (response-1 and model-1, or …_a and …_b)."""
        marks = [re.sub(ANSWER, "", name.lower()).strip("_- ") for name in answers]
        by_mark = {
            re.sub(SOURCES, "", name.lower()).strip("_- "): name for name in self.columns if SOURCES.search(name)
        }
        endings = [re.split(r"[_-]", name.lower())[-1] for name in answers]
        for keys in (marks, endings):
            if all(key and key in by_mark for key in keys):
                return tuple(by_mark[key] for key in keys)
        return ()

    def _verdict_beside(self, answers: Sequence[str]) -> tuple[Verdict, tuple[str, ...]]:
        for name in CHOICES:
            column = self.lower.get(name)
            if column and self._is_choice(column, answers):
                return "choice", (column,)
        if len(answers) != 2:
            return "none", ()
        for name in STRENGTHS:
            column = self.lower.get(name)
            if column and self._numbers(column):
                return "strength", (column,)
        second = re.split(r"[_-]", answers[1].lower())[-1]
        for column in self.columns:
            numbers = self._numbers(column)
            if re.match(rf"p_.*{re.escape(second)}$", column.lower()) and numbers and all(0 <= n <= 1 for n in numbers):
                return "probability", (column,)
        return "none", ()

    def _is_choice(self, column: str, answers: Sequence[str]) -> bool:
        values = self.values[column]
        if any(value.startswith(("[", "{")) for value in values):
            return True
        return column == "choose-best" or (
            bool(values) and all(choice_of(value, len(answers), answers) is not None for value in values)
        )

    def _rows(self) -> Recognised | None:
        prompt = self._first(PROMPTS)
        answers = [name for name in self.columns if ANSWER.search(name) and self._is_words(name) and name != prompt]
        if prompt is None or len(answers) != 1:
            return None
        prompts = self.values[prompt]
        if len(set(prompts)) == len(prompts):
            why = (
                f"“{prompt}” has one answer each, “{answers[0]}”. Choose a second column of answers, or let a model "
                "write one below."
            )
            return Recognised(ColumnMapping(prompt=prompt, answers=(answers[0],), **self._common()), why, "unsure")
        source = next((n for n in self.columns if SOURCES.search(n) and n not in answers and self.values[n]), None)
        rating = next((self.lower[n] for n in RATINGS if n in self.lower and self._numbers(self.lower[n])), None)
        mapping = ColumnMapping(
            shape="rows",
            prompt=prompt,
            answers=(answers[0],),
            sources=(source,) if source else (),
            verdict="rating" if rating else "none",
            verdict_in=(rating,) if rating else (),
            **self._common(),
        )
        why = f"Each row has one answer (“{answers[0]}”); rows with the same “{prompt}” belong together."
        return Recognised(mapping, why, "likely")

    def _only_prompts(self) -> Recognised | None:
        prompt = self._first(PROMPTS)
        if prompt is None or not self._is_words(prompt):
            return None
        why = f"“{prompt}” holds prompts; no answers were found. Choose their columns, or let models write some below."
        return Recognised(ColumnMapping(prompt=prompt, **self._common()), why, "likely")


def _json_list(value: str) -> list[Any] | None:
    if not value.startswith(("[", "{")):
        return None
    content = turns.from_json(value)
    if isinstance(content, dict) and content and all(isinstance(column, list) for column in content.values()):
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=False)]
    return content if isinstance(content, list) and content else None


def _text_in(entry: Any) -> bool:
    if isinstance(entry, dict):
        return any(isinstance(entry.get(key), str) for key in TEXT_KEYS)
    return isinstance(entry, str) or bool(isinstance(entry, list) and turns.messages(entry))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
