"""The five steps as plain functions on a project: what the tabs, the command line and the tests call."""

import os
import time
from pathlib import Path

import pandas as pd

from rm_studio import annotation, data, judged, models, preferences, simulation, tables
from rm_studio.config import ColumnMapping, DataSource, TrainConfig
from rm_studio.errors import DataError, StudioError, TrainingError
from rm_studio.jobs import Job
from rm_studio.training import checks, preflight, queue, runs
from rm_studio.workspace import Project, Workspace, read_frame, read_json, stamp, write_frame, write_json

SAMPLE_PROJECT = "Sample: answers from an assistant"
SAMPLE_TRAINING = TrainConfig(learning_rate=2e-4, soft_labels=True)  # the preset “Balanced” for it


def load_table(project: Project, source: DataSource, file: Path | None = None, token: str | None = None) -> list[str]:
    """Read rows into the project and guess their columns; returns notes on how they were read."""
    table = tables.read(source, file, token)
    write_frame(project.table, table.frame)
    project.note_ledger("table", {"rows": len(table.frame), "notes": table.notes})
    example = data.TUTORIAL.mapping if source.name == data.TUTORIAL.source.name else None
    project.update(source=source, mapping=example or data.guess_mapping(table.frame))
    return table.notes


def save_comparisons(project: Project, mapping: ColumnMapping) -> None:
    """Turn the loaded rows into comparisons with this mapping.

    Raises:
        DataError: no table yet, the mapping does not fit, or nothing is left.
    """
    frame = read_frame(project.table)
    if frame is None:
        raise DataError("Load some data first: a file, a dataset from the Hub, or the sample.")
    comparisons, ledger = data.build_comparisons(frame, mapping, project.info.seed)
    write_frame(project.comparisons, comparisons)
    project.note_ledger("comparisons", ledger)
    project.update(mapping=mapping)
    make_pairs(project)


def use_feedback(project: Project, source: DataSource, file: Path | None = None, token: str | None = None) -> int:
    """Take a table that already carries judgements as this project's data and feedback; returns the number of pairs."""
    table = tables.read(source, file, token)
    found = judged.read(table.frame, project.info.seed)
    write_frame(project.table, table.frame)
    write_frame(project.comparisons, found.comparisons)
    write_frame(project.feedback, found.feedback)
    project.note_ledger("table", {"rows": len(table.frame), "notes": table.notes})
    project.note_ledger("comparisons", found.ledger)
    project.update(source=source, mapping=found.mapping)
    return make_pairs(project)


def publish(workspace: Workspace, project: Project, job: Job, name: str | None = None, go_on: bool = False) -> str:
    """Publish the comparisons to Argilla (`annotation.publish`); returns a closing sentence."""
    comparisons = require_comparisons(project)
    with annotation.connect(workspace) as connection:
        reference = annotation.publish(
            connection, project, comparisons, job.progress, job.stopping.is_set, name or None, go_on
        )
    if job.stopping.is_set():
        return f"Stopped with {reference.n_records:,} of {len(comparisons):,} published. Publish again to go on."
    return f"{reference.n_records:,} comparisons are in Argilla, ready to annotate."


def pull(workspace: Workspace, project: Project, job: Job) -> str:
    """Bring the feedback back from Argilla and make pairs of it; returns a closing sentence."""
    info = project.info
    if info.argilla is None:
        raise DataError(
            "Nothing was published yet, so there is no feedback to pull. Publish on the Question tab first."
        )
    with annotation.connect(workspace) as connection:
        feedback = annotation.pull(connection, info.argilla, require_comparisons(project), job.progress)
    answers = int((feedback["status"] == "submitted").sum())
    if not answers:
        return "Nobody has submitted an answer yet. Nothing was changed here; pull again when somebody has."
    kept = read_frame(project.feedback)
    if kept is not None:
        feedback = merged(kept, feedback)
    write_frame(project.feedback, feedback)
    n_pairs = make_pairs(project)
    return f"{answers:,} answers pulled; they make {n_pairs:,} preference pairs."


def merged(kept: pd.DataFrame, pulled: pd.DataFrame) -> pd.DataFrame:
    """Feedback that was here with what was pulled: a person's is replaced, a file's stays, simulated feedback goes."""
    others = ~kept["annotator"].isin(set(pulled["annotator"])) & ~kept["annotator"].map(simulation.is_simulated)
    return pd.concat([kept[others], pulled], ignore_index=True) if others.any() else pulled


def check(project: Project, config: TrainConfig, job: Job) -> str:
    """Check a run before it starts: what the pairs say, and what a few real steps show; returns a closing sentence.

    The outcome is kept in the project (`last_check`), with the settings and pairs that it was for.
    """
    pairs = require_pairs(project)
    key = check_key(project, config)
    findings = checks.of_pairs(pairs, config)
    trial = None
    if not any(finding.level == "block" for finding in findings):
        folder = project.folder / "cache" / f"check-{os.getpid()}-{time.monotonic_ns()}"
        try:
            run = runs.prepare(folder, config, pairs)
            trial = preflight.try_out(run, job.say, job.stopping.is_set)
            findings += [*checks.of_trial(trial, config), *checks.of_disk(project.folder, trial.disk)]
        except StudioError as error:
            if job.stopping.is_set():
                return "The check was stopped."
            findings.append(checks.Finding(level="block", text=str(error), passing="could not be" in str(error)))
    outcome = checks.Check(key=key, findings=tuple(findings), trial=trial)
    write_json(project.folder / "check.json", outcome.model_dump())
    return "Not ready: see below." if outcome.blocked else "Checked."


def check_key(project: Project, config: TrainConfig) -> str:
    """What a check is for: these settings on these pairs."""
    return f"{config.model_dump_json()} {stamp(project.pairs)}"


def last_check(project: Project) -> checks.Check | None:
    """The outcome of the last check, for whatever settings it was."""
    content = read_json(project.folder / "check.json")
    return checks.Check.model_validate(content) if content else None


def start_training(workspace: Workspace, project: Project, config: TrainConfig) -> runs.Run:
    """Start a run, or let it wait for its turn.

    Raises:
        TrainingError: something that was checked would keep it from succeeding.
    """
    pairs = require_pairs(project)
    findings = [*checks.of_pairs(pairs, config), *checks.of_disk(project.folder, 0)]
    known = last_check(project)
    if known and known.key == check_key(project, config):
        # Memory that another run holds, or a Hub that could not be reached, may be there again when the run begins.
        findings += [finding for finding in known.findings if not finding.passing]
    for finding in findings:
        if finding.level == "block":
            raise TrainingError(finding.text)
    return queue.submit(workspace, project.runs, config, pairs)


def make_pairs(project: Project) -> int:
    """Let the feedback vote and write the preference pairs; returns how many there are."""
    comparisons, feedback = read_frame(project.comparisons), read_frame(project.feedback)
    if comparisons is None or feedback is None:
        return 0
    pairs = preferences.make_pairs(comparisons, feedback)
    write_frame(project.pairs, pairs.frame)
    project.note_ledger("pairs", pairs.ledger)
    return len(pairs.frame)


def require_comparisons(project: Project) -> pd.DataFrame:
    """The project's comparisons; raises DataError where there are none."""
    comparisons = read_frame(project.comparisons)
    if comparisons is None:
        raise DataError("There are no comparisons yet. Load data and save the comparisons on the Data tab first.")
    return comparisons


def require_pairs(project: Project) -> pd.DataFrame:
    """The project's preference pairs; raises DataError where there are none."""
    pairs = read_frame(project.pairs)
    if pairs is None or pairs.empty:
        raise DataError(
            "There are no preference pairs yet. Pull feedback, or use existing feedback, on the Annotate tab."
        )
    return pairs


def sample_project(workspace: Workspace) -> Project:
    """The sample project with simulated feedback; made on first use, found again later."""
    for project in workspace.projects():
        if project.info.name == SAMPLE_PROJECT:
            return project
    project = workspace.create(SAMPLE_PROJECT, seed=simulation.SEED)
    load_table(project, DataSource(kind="sample", name="sample"))
    save_comparisons(project, simulation.MAPPING)
    write_frame(project.feedback, simulation.sample_feedback())
    make_pairs(project)
    return project


def demo(workspace: Workspace) -> Project:
    """The sample project with every tab filled: a first run is started unless one is there or nothing can train."""
    project = sample_project(workspace)
    if not runs.list_runs(project.runs) and models.builtin_available() and not queue.active(workspace):
        queue.submit(workspace, project.runs, SAMPLE_TRAINING, require_pairs(project))
    return project
