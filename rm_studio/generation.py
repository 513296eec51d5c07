"""Answers written by models: to prompts that have none yet, or as a further contender.

A model is asked through any address that speaks OpenAI's chat protocol (vLLM, Ollama, ``transformers serve``), through
Hugging Face's Inference Providers, or run here. Every answer is kept as soon as it came, so that a generation that was
stopped goes on where it was, and nothing is paid for twice.
"""

import hashlib
import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rm_studio import tables
from rm_studio.config import ColumnMapping
from rm_studio.data import turns
from rm_studio.errors import DataError, GenerationError
from rm_studio.jobs import Job
from rm_studio.workspace import Project, read_json, stamp
from rm_studio.writers import Contender, Messages, Writer, writer_of

AT_ONCE = 4  # requests under way at a time
GIVE_UP_AFTER = 8  # failures in a row: the address, the key or the name is wrong
REDIRECTS = range(300, 400)
HISTORY = "generated.jsonl"


class Prompt(NamedTuple):
    """A prompt as it stands in the table, and the system prompt that stands beside it."""

    text: str
    system: str


class Wanted(NamedTuple):
    """One answer to be written: to what, which of its answers, and its name."""

    prompt: Prompt
    number: int
    key: str


def generate(project: Project, contenders: Sequence[Contender], job: Job, token: str | None = None) -> str:
    """Let models answer the prompts of the project's table; the answers become columns of it.

    Args:
        project: Its table has a column with the prompts, named by its mapping, and answers side by side or none.
        contenders: Who answers, one after the other.
        job: Is told how far it is, and asked whether to stop.
        token: For an address or provider that wants one; used for these calls and kept nowhere.

    Returns:
        A closing sentence.

    Raises:
        DataError: there are no prompts to answer.
        GenerationError: a model cannot be reached or does not answer.
    """
    mapping = project.info.mapping
    check_mapping(mapping)
    assert mapping is not None
    version = stamp(project.table)
    prompts = list(
        dict.fromkeys(prompt for frame in tables.batches(project.table) for prompt in _prompts(frame, mapping))
    )
    if not any(prompt.text.strip() for prompt in prompts):
        raise DataError("The column with the prompts is empty.")
    history = History(project.folder / HISTORY)
    answered = sum(bool(prompt.text.strip()) for prompt in prompts)
    total = sum(answered * contender.answers for contender in contenders)
    done = failed = 0
    for contender in contenders:
        wanted = list(_wanted(prompts, contender))
        missing = [want for want in wanted if want.key not in history.answers]
        done += len(wanted) - len(missing)
        job.progress(done, total)
        if missing and not job.stopping.is_set():
            with writer_of(contender, token) as write:
                for came in _answered(missing, contender, write, job.stopping, history):
                    done, failed = done + came, failed + (not came)
                    job.say(f"Writing answers ({failed:,} failed) …" if failed else "Writing answers …")
                    job.progress(done + failed, total)
    if stamp(project.table) != version:
        raise DataError("The table was replaced meanwhile. What was written is kept: press the button again.")
    n_columns = add_columns(project, contenders, history)
    rest = f" {failed:,} failed; press the button again to ask for those anew." if failed else ""
    if mapping.is_judged:
        rest += " The table’s own judgements are set aside: they say nothing of the new answers."
    if done + failed < total:
        return f"Stopped with {done:,} of {total:,} answers. Press the button again to go on; none is asked for twice."
    return f"{done:,} answers are there, in {n_columns} column{'s' if n_columns > 1 else ''} of the table.{rest}"


def check_mapping(mapping: ColumnMapping | None) -> None:
    """Raise DataError where it is not known what is to be answered, or answers cannot be put beside it."""
    if mapping is None or not mapping.prompt:
        raise DataError("Say which column holds the prompt first.")
    if mapping.shape != "columns":
        raise DataError("Answers can be added where they stand side by side in columns, or where there are none yet.")


class History:
    """All answers that ever came, one JSON line each, by their keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, str] = {}
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):  # cut off: the next answer begins its own line
                with path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write("\n")
            for line in text.splitlines():
                with suppress(ValueError, KeyError):  # a line that was cut off
                    entry = json.loads(line)
                    self.answers[entry["key"]] = entry["answer"]

    def add(self, want: Wanted, source: str, answer: str) -> None:
        entry = {"key": want.key, "source": source, "prompt": want.prompt.text, "answer": answer}
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(entry) + "\n")
        self.answers[want.key] = answer


def add_columns(project: Project, contenders: Sequence[Contender], history: History) -> int:
    """Put the answers into the project's table, a column a source and answer, and choose them; returns how many.

    A column of the same name that was not written here, or with other settings, stays, and ours gets another name.
    """
    mapping = project.info.mapping
    assert mapping is not None
    ours: dict[str, str] = ((read_json(project.ledger) or {}).get("generated") or {}).get("columns", {})
    first = tables.first_rows(project.table, 1)
    there = set() if first is None else set(first.columns)
    names: dict[str, tuple[Contender, int]] = {}
    for contender in contenders:
        for number in range(contender.answers):
            base = contender.source if not number else f"{contender.source} ({number + 1})"
            wordings = itertools.chain([base], (f"{base}, again {count}" for count in itertools.count(2)))
            settings = _settings_key(contender)
            name = next(
                word for word in wordings if word not in names and (word not in there or ours.get(word) == settings)
            )
            names[name] = (contender, number)

    def widened() -> Iterator[pd.DataFrame]:
        for frame in tables.batches(project.table):
            prompts = list(_prompts(frame, mapping))
            more: dict[str, Any] = {
                name: [history.answers.get(_key(prompt, contender, number)) for prompt in prompts]
                for name, (contender, number) in names.items()
            }
            yield frame.assign(**more)

    tables.store(project.table, widened())
    written = {name: _settings_key(contender) for name, (contender, _) in names.items()}
    project.note_ledger("generated", {"columns": {**ours, **written}})
    answers = (*mapping.answers, *(name for name in names if name not in mapping.answers))
    project.update(mapping=mapping.model_copy(update={"answers": answers, "verdict": "none", "verdict_in": ()}))
    return len(names)


def _prompts(frame: pd.DataFrame, mapping: ColumnMapping) -> Iterator[Prompt]:
    """The prompt of each row, also of those that have none."""
    texts = frame[mapping.prompt].tolist()
    systems = frame[mapping.system].tolist() if mapping.system else [None] * len(texts)
    for text, system in zip(texts, systems, strict=True):
        yield Prompt(text if isinstance(text, str) else "", system if isinstance(system, str) else "")


def _wanted(prompts: Iterable[Prompt], contender: Contender) -> Iterator[Wanted]:
    for prompt in prompts:
        for number in range(contender.answers if prompt.text.strip() else 0):
            yield Wanted(prompt, number, _key(prompt, contender, number))


def _key(prompt: Prompt, contender: Contender, number: int) -> str:
    """What makes an answer the same: the prompt, who answers and how, and which of its answers."""
    return _hash([*prompt, contender.model_dump(exclude={"answers"}), number])


def _settings_key(contender: Contender) -> str:
    return _hash(contender.model_dump(exclude={"answers"}))


def _hash(content: Any) -> str:
    written = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _messages(prompt: Prompt, system: str) -> Messages:
    """A prompt, which may be a whole conversation, as chat messages; before it what all were told, and this one."""
    spoken = turns.parse(prompt.text) or [turns.Turn("user", prompt.text)]
    found = [{"role": turn.role, "content": turn.text} for turn in spoken]
    told = "\n\n".join(words for words in (system, prompt.system) if words.strip())
    if told and found[0]["role"] != "system":
        found.insert(0, {"role": "system", "content": told})
    return found


def _answered(
    wanted: Sequence[Wanted], contender: Contender, write: Writer, stopping: threading.Event, history: History
) -> Iterator[bool]:
    """Ask for answers, a few at a time, and keep each; yields whether it came.

    Raises:
        GenerationError: many in a row failed.
    """

    def one(want: Wanted) -> str:
        return write(_messages(want.prompt, contender.system), int(want.key[:7], 16))

    in_a_row = 0
    queue = iter(wanted)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="generate") as pool:
        under_way: dict[Future[str], Wanted] = {}
        while True:
            while len(under_way) < AT_ONCE and not stopping.is_set() and (want := next(queue, None)):
                under_way[pool.submit(one, want)] = want
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                want = under_way.pop(future)
                error = future.exception()
                answer = "" if error else future.result()
                if error is None and answer.strip():
                    history.add(want, contender.source, answer)
                    in_a_row = 0
                    yield True
                    continue
                in_a_row += 1
                if in_a_row >= GIVE_UP_AFTER:
                    for rest in under_way:
                        rest.cancel()
                    raise GenerationError(_why(contender, error)) from error
                yield False


def _why(contender: Contender, error: BaseException | None) -> str:
    where = "the address" if contender.kind == "address" else "Hugging Face" if contender.kind == "providers" else "it"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if error is None:
        what = "it answered with nothing"
    elif status in (401, 403):
        what = f"{where} refused the token"
    elif status == 404:
        what = f"{where} knows no such model"
    elif status in REDIRECTS:
        what = f"{where} sends on to another, which is not followed: write that one instead"
    elif status is not None:
        what = f"{where} answered with error {status}"
    elif isinstance(error, ValueError | LookupError | TypeError):
        what = f"{where} does not answer as OpenAI’s protocol says"
    else:
        what = f"{where} could not be reached"
    return (
        f"“{contender.model}” failed {GIVE_UP_AFTER} times in a row: {what}. What was written before is kept; mend it "
        "and press the button again."
    )
