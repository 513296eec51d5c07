"""A project's data on the Hugging Face Hub: pushed with a card, so that others can train on it or go on from it.

What is pushed: the preference pairs, which any tool can read, the comparisons and feedback that they come from, and the
question with its guidelines. Annotators' names become numbers unless the user says otherwise; nothing of the annotation
server and no model goes along.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from pydantic import Field, ValidationError

from rm_studio import preferences, questions, simulation
from rm_studio.config import ColumnMapping, DataSource, Question, Selection
from rm_studio.data.comparisons import COMPARISON_COLUMNS
from rm_studio.errors import DataError
from rm_studio.preferences import FEEDBACK_COLUMNS, THE_FILE
from rm_studio.settings import Frozen
from rm_studio.tables import hub
from rm_studio.workspace import Project, read_frame, read_json, write_frame, write_json

PROJECT_FILE = "rm_studio.json"
PARTS = {"comparisons": "comparisons.parquet", "feedback": "feedback.parquet", "pairs": "pairs.parquet"}


class Shared(Frozen):
    """What ``rm_studio.json`` holds: all of a project that is not a table."""

    version: int = 1
    name: str
    seed: int
    source: DataSource | None = None
    mapping: ColumnMapping | None = None
    selection: Selection = Selection()
    question: Question = Question()
    known: dict[str, int] = Field({}, description="Comparisons with a known answer: the attention checks.")


def push(project: Project, repository: str, token: str | None, private: bool = True, names: bool = False) -> str:
    """Push a project's data to the Hub.

    Args:
        project: Its comparisons, and what feedback and pairs there are.
        repository: ``owner/name``; made if it is not there.
        token: One that may write; used for this call and kept nowhere. None takes the one this computer is logged in
            with.
        private: Whether only its owner can see a repository that is made now.
        names: Whether annotators keep their names.

    Returns:
        The dataset's page.

    Raises:
        DataError: there is nothing to push.
        HubError: no permission, or no network.
    """
    from huggingface_hub import HfApi

    hub.check_name(repository)
    folder = Path(tempfile.mkdtemp(prefix="rm-studio-share-"))
    try:
        write(project, folder, repository, names)
        with hub.asked(repository, to_write=True):
            api = HfApi(token=token or None)
            api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                commit_message=f"{project.info.name}, from RM Studio",
            )
            return str(commit.repo_url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(project: Project, folder: Path, repository: str, names: bool = False) -> None:
    """Write what is pushed into a folder.

    Raises:
        DataError: the project has no comparisons.
    """
    comparisons = read_frame(project.comparisons)
    if comparisons is None:
        raise DataError("There is nothing to share yet. Load data and save the comparisons first.")
    info = project.info
    feedback = read_frame(project.feedback)
    found = {"pairs": read_frame(project.pairs), "comparisons": comparisons, "feedback": feedback}
    frames = {part: frame for part, frame in found.items() if frame is not None and len(frame)}
    if "feedback" in frames and not names:
        feedback = frames["feedback"]
        people = sorted(set(feedback["annotator"][feedback["annotator"].map(_is_person)]))
        numbers = {name: f"annotator {number}" for number, name in enumerate(people, start=1)}
        frames["feedback"] = feedback.assign(annotator=feedback["annotator"].map(lambda name: numbers.get(name, name)))
    for part, frame in frames.items():
        write_frame(folder / "data" / PARTS[part], frame)
    shared = Shared(
        name=info.name,
        seed=info.seed,
        source=info.source,
        mapping=info.mapping,
        selection=info.selection,
        question=info.question,
        known=read_json(project.folder / "known.json") or {},
    )
    write_json(folder / PROJECT_FILE, shared.model_dump(mode="json"))
    (folder / "README.md").write_text(card(project, frames, repository), encoding="utf-8")


def card(project: Project, frames: dict[str, pd.DataFrame], repository: str) -> str:
    """The dataset's card: what it is, how it was made, how far people agreed, how to use it."""
    info = project.info
    feedback, pairs = frames.get("feedback"), frames.get("pairs")
    configs = "\n".join(
        f"- config_name: {part}\n  data_files: data/{PARTS[part]}" + "\n  default: true" * (place == 0)
        for place, part in enumerate(frames)
    )
    told = [f"- {len(frames['comparisons']):,} comparisons"]
    if feedback is not None:
        answers = feedback[feedback["status"] == "submitted"]
        by_people = answers[answers["annotator"].map(_is_person)]
        others = answers[~answers["annotator"].map(_is_person)]
        if len(by_people):
            told.append(f"- {len(by_people):,} answers by {by_people['annotator'].nunique()} people")
        if len(others):
            told.append(f"- {len(others):,} judgements that are simulated or came with the data")
        agreed = preferences.agreement(feedback)
        if agreed.n:
            told.append(f"- two people who compared the same answers agreed in {agreed}")
    if pairs is not None:
        told.append(f"- {len(pairs):,} preference pairs; `p_chosen` is the share of the votes for the chosen answer")
    source = f"- the prompts and answers come from {info.source.label}" if info.source else ""
    if info.source and info.source.revision:
        source += f" (revision `{info.source.revision}`)"
    kind = questions.KINDS[info.question.kind]
    quoted = "\n".join(f"> {line}" for line in info.question.guidelines.splitlines())
    return f"""---
configs:
{configs}
tags:
- preference
- reward-model
- rm-studio
---

# {_one_line(info.name)}

Preferences, collected with RM Studio.

{chr(10).join([*told, *[source] * bool(source)])}

## What was asked

{kind.title}: “{_one_line(info.question.title)}” ({_one_line(info.question.description)}) Answers were shuffled for each
comparison. The guidelines:

{quoted}

## How to use it

```python
from datasets import load_dataset

pairs = load_dataset("{repository}")  # prompt, chosen, rejected: as TRL's RewardTrainer takes them
```

In RM Studio, open a new project, choose “Hugging Face” on the Data tab, name `{repository}`, and press “Go on from a
shared project”: the question, the comparisons and the feedback are there again.
"""


def start_from(project: Project, repository: str, token: str | None = None, revision: str | None = None) -> str:
    """Fill an empty project from one that was shared.

    Args:
        project: One without comparisons.
        repository: ``owner/name``.
        token: For a private one; used for this call and kept nowhere.
        revision: The commit to take; None takes the newest.

    Returns:
        A closing sentence.

    Raises:
        DataError: the project is not empty, or what was shared is not whole.
        HubError: there is no such dataset, no permission, or no network.
    """
    from huggingface_hub import HfApi, hf_hub_download

    if project.comparisons.exists():
        raise DataError("This project has comparisons already. Create a new one first: this would replace them.")
    hub.check_name(repository)
    with hub.asked(repository):
        found = HfApi(token=token or False).dataset_info(repository, revision=revision, timeout=hub.LIMIT_S)
        files = {sibling.rfilename for sibling in found.siblings or ()}
        wanted = [PROJECT_FILE, *(f"data/{name}" for name in PARTS.values())]
        places = {
            name: Path(hf_hub_download(repository, name, repo_type="dataset", revision=found.sha, token=token or False))
            for name in wanted
            if name in files
        }
    if PROJECT_FILE not in places or f"data/{PARTS['comparisons']}" not in places:
        raise DataError(f"“{repository}” was not shared by RM Studio. Load it as data instead.")
    try:
        shared = Shared.model_validate(json.loads(places[PROJECT_FILE].read_bytes()))
    except (ValueError, ValidationError) as error:
        raise DataError(f"“{repository}” cannot be read: it may have been shared by a newer version.") from error
    frames = {part: pd.read_parquet(places[f"data/{name}"]) for part, name in PARTS.items() if f"data/{name}" in places}
    comparisons, feedback = frames["comparisons"], frames.get("feedback")
    if not {*COMPARISON_COLUMNS} <= {*comparisons.columns} or comparisons.empty:
        raise DataError(f"“{repository}” is not whole: its comparisons lack columns.")
    write_frame(project.comparisons, comparisons[COMPARISON_COLUMNS])
    if feedback is not None:
        write_frame(project.feedback, feedback.reindex(columns=FEEDBACK_COLUMNS))
        made = preferences.make_pairs(comparisons, feedback)
        write_frame(project.pairs, made.frame)
        project.note_ledger("pairs", made.ledger)
    read = {"unit": "comparisons", "read": len(comparisons), "kept": len(comparisons), "dropped": []}
    project.note_ledger("comparisons", read)
    if shared.known:
        write_json(project.folder / "known.json", shared.known)
    source = DataSource(kind="hub", name=repository, revision=found.sha)
    kept = {name: getattr(shared, name) for name in ("mapping", "selection", "question", "seed")}
    project.update(source=source, **kept)
    return f"“{_one_line(shared.name)}” is here: {len(comparisons):,} comparisons, with its question and guidelines."


def _is_person(annotator: str) -> bool:
    return annotator != THE_FILE and not simulation.is_simulated(annotator)


def _one_line(text: str) -> str:
    """Words of a user's in a heading or a sentence of Markdown."""
    return re.sub(r"\s+", " ", text).strip()
