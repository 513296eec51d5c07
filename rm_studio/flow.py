"""The five steps as plain functions on a project: what the tabs, the command line and the tests call."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rm_studio import annotation, data, judged, models, plan, preferences, simulation, tables
from rm_studio.config import ColumnMapping, DataSource, Selection
from rm_studio.errors import AnnotationError, DataError, DatasetGoneError, StudioError, TrainingError
from rm_studio.jobs import Job
from rm_studio.ledger import Ledger
from rm_studio.tables import hub
from rm_studio.training import checks, preflight, queue, runs
from rm_studio.training.config import TrainConfig
from rm_studio.workspace import Project, Workspace, read_frame, read_json, stamp, write_frame, write_json

SAMPLE_PROJECT = "Sample: answers from an assistant"
FIRST_ROWS = 200  # looked at to recognise a table
SAMPLE_TRAINING = TrainConfig(learning_rate=2e-4, soft_labels=True)  # the preset “Balanced” for it


def load_table(
    project: Project,
    source: DataSource,
    *paths: Path,
    text: str = "",
    token: str | None = None,
    job: Job | None = None,
) -> list[str]:
    """Read rows into the project and recognise what they are; returns notes on how they were read.

    Args:
        project: Whose table is replaced.
        source: Where the rows come from; its ``limit`` and ``sampled`` say how many are kept.
        paths: Where uploaded files lie.
        text: What was pasted.
        token: For a private dataset of the Hub; kept nowhere.
        job: Is told how far it is, and asked whether to stop; what was there then stays.

    Raises:
        DataError: nothing could be read; a HubError from the Hub.
    """
    source = hub.pinned(source, token)
    reading = tables.open_source(source, paths, text, token)

    def watched() -> Iterator[pd.DataFrame]:
        for frame in reading.batches():
            if job and job.stopping.is_set():
                raise DataError("Reading was stopped. What was loaded before is still there.")
            yield frame

    seed = project.info.seed if source.sampled else None
    count = tables.store(
        project.table, watched(), source.limit, seed, lambda n: job.say(f"Reading: {n:,} rows …") if job else None
    )
    found = data.recognise(require_first_rows(project))
    example = data.example_of(source)
    mapping = example.mapping if example and example.mapping else found.mapping if found else None
    notes = list(reading.notes)
    if source.limit and count == source.limit:
        kind = "A random sample of" if source.sampled else "The first"
        notes.append(f"{kind} {count:,} rows was read, as you asked.")
    project.note_ledger(
        "table",
        {
            "rows": count,
            "how": reading.how,
            "notes": notes,
            "why": found.why if found else "",
            "sure": found.sure if found else "",
        },
    )
    project.update(source=source, mapping=mapping)
    return notes


def require_first_rows(project: Project) -> pd.DataFrame:
    """The first loaded rows, enough to recognise and show what they are; raises DataError where nothing is loaded."""
    frame = tables.first_rows(project.table, FIRST_ROWS)
    if frame is None:
        raise DataError("Load some data first: a file, a dataset from the Hub, or the sample.")
    return frame


def save_comparisons(
    project: Project, mapping: ColumnMapping, selection: Selection | None = None, job: Job | None = None
) -> str:
    """Turn the loaded rows into comparisons; where they carry judgements, these become the project's feedback.

    Returns:
        A closing sentence.

    Raises:
        DataError: no table yet, the mapping does not fit, or nothing is left.
    """
    selection = selection or project.info.selection
    first = require_first_rows(project)
    data.check(data.columns_of(first), mapping)
    total = tables.n_rows(project.table)

    def looked_at(count: int) -> None:
        if job and job.stopping.is_set():
            raise DataError("Making comparisons was stopped. What was saved before is still there.")
        if job:
            job.say(f"Making comparisons: {count:,} looked at, of {total:,} rows …")

    with Ledger("comparisons", project.left_out) as ledger:
        made = data.build(
            lambda: data.items(tables.batches(project.table), mapping, selection.others_as_text),
            selection,
            project.info.seed,
            ledger,
            looked_at,
        )
    if mapping.is_judged:
        judged.require_judgements(made.feedback)
    write_frame(project.comparisons, made.frame)
    project.note_ledger("comparisons", made.ledger)
    project.update(mapping=mapping, selection=selection)
    _take_judgements(project, made.feedback if mapping.is_judged else made.feedback[:0])
    n_pairs = make_pairs(project)
    judgements = f" Their judgements make {n_pairs:,} preference pairs." if mapping.is_judged else ""
    return f"{len(made.frame):,} comparisons are saved.{judgements}"


def _take_judgements(project: Project, given: pd.DataFrame) -> None:
    """Put a table's judgements in the place of those that an earlier reading of it gave; people's stay."""
    before = ((read_json(project.ledger) or {}).get("judged") or {}).get("annotators", [])
    kept = read_frame(project.feedback)
    if kept is not None:
        kept = kept[~kept["annotator"].isin(before)]
    if len(given):
        write_frame(project.feedback, given if kept is None or kept.empty else merged(kept, given))
    elif before and kept is not None:
        if len(kept):
            write_frame(project.feedback, kept)
        else:
            project.feedback.unlink(missing_ok=True)
            project.pairs.unlink(missing_ok=True)
    project.note_ledger("judged", {"annotators": sorted(set(given["annotator"]))})


def use_feedback(project: Project, source: DataSource, *paths: Path, token: str | None = None) -> int:
    """Take a table that already carries judgements as this project's data and feedback; returns the number of pairs.

    Raises:
        DataError: it carries none that are known.
    """
    load_table(project, source, *paths, token=token)
    mapping = project.info.mapping
    if mapping is None or not mapping.is_judged:
        raise DataError(judged.unknown(require_first_rows(project)))
    save_comparisons(project, mapping, Selection())
    return len(require_pairs(project))


def publish(workspace: Workspace, project: Project, job: Job, name: str | None = None, go_on: bool = False) -> str:
    """Publish the comparisons to Argilla (`annotation.publish`); returns a closing sentence."""
    comparisons = plan.interleaved(require_comparisons(project), plan.known_answers(project))
    with annotation.connect(workspace) as connection:
        reference = annotation.publish(
            connection, project, comparisons, job.progress, job.stopping.is_set, name or None, go_on
        )
    if job.stopping.is_set():
        return f"Stopped with {reference.n_records:,} of {len(comparisons):,} published. Publish again to go on."
    return f"{reference.n_records:,} comparisons are in Argilla, ready to annotate."


def new_version(workspace: Workspace, project: Project, job: Job) -> str:
    """Let the question be changed: what is published stays as it is, and the next publish makes a dataset beside it.

    What was answered so far is pulled first, since nobody asks that dataset again; who answers again in the new version
    replaces their own. Returns a closing sentence.

    Raises:
        AnnotationError: it could not be pulled, so nothing was changed.
    """
    info = project.info
    if info.argilla is None:
        return "The question can be changed."
    said = ""
    try:
        said = pull(workspace, project, job)
    except DatasetGoneError:
        pass  # deleted in Argilla: nothing is lost by leaving it
    except AnnotationError as error:
        raise AnnotationError(f"First the answers so far must be pulled, and that did not work. {error}") from error
    project.update(argilla=None, earlier=(*info.earlier, info.argilla))
    return f"The question can be changed now. {said}".strip()


def dataset_name(project: Project) -> str:
    """What the project's dataset is called in Argilla, unless somebody chose a name."""
    info = project.info
    if info.argilla:
        return info.argilla.name
    return f"{project.slug}-v{len(info.earlier) + 1}" if info.earlier else project.slug


def pull(workspace: Workspace, project: Project, job: Job) -> str:
    """Bring the feedback back from Argilla and make pairs of it; returns a closing sentence."""
    info = project.info
    if info.argilla is None:
        what = "The new version was not published yet" if info.earlier else "Nothing was published yet"
        raise DataError(f"{what}, so there is no feedback to pull. Publish on the Question tab first.")
    with annotation.connect(workspace) as connection:
        comparisons = require_comparisons(project)
        feedback = annotation.pull(connection, info.argilla, comparisons, info.question, job.progress)
    answers = int((feedback["status"] == "submitted").sum())
    if not answers:
        return "Nobody has submitted an answer yet. Nothing was changed here; pull again when somebody has."
    kept = read_frame(project.feedback)
    if kept is not None:
        feedback = merged(kept, feedback, by_comparison=bool(info.earlier))
    write_frame(project.feedback, feedback)
    n_pairs = make_pairs(project)
    others = int((~feedback["id"].isin(set(comparisons["id"])) & (feedback["status"] == "submitted")).sum())
    said = f"{answers:,} answers pulled; there are {n_pairs:,} preference pairs."
    if others:
        said += f" {others:,} answers are about comparisons that are not chosen now; they count again when they are."
    return said


def merged(kept: pd.DataFrame, pulled: pd.DataFrame, by_comparison: bool = False) -> pd.DataFrame:
    """Feedback that was here with what was pulled: a person's is replaced, a file's stays, simulated feedback goes.

    With ``by_comparison`` only what a person said of a comparison is replaced: the rest came from an earlier version.
    Then a draft takes no answer's place.
    """
    if by_comparison:
        answered = pd.MultiIndex.from_frame(kept.loc[kept["status"] == "submitted", ["id", "annotator"]])
        begun = pd.MultiIndex.from_frame(pulled[["id", "annotator"]]).isin(answered)
        pulled = pulled[~(begun & (pulled["status"] != "submitted"))]
    names = ["id", "annotator"] if by_comparison else ["annotator"]
    fresh = pd.MultiIndex.from_frame(pulled[names]) if by_comparison else pd.Index(pulled["annotator"])
    old = pd.MultiIndex.from_frame(kept[names]) if by_comparison else pd.Index(kept["annotator"])
    others = ~pd.Series(old.isin(fresh), index=kept.index) & ~kept["annotator"].map(simulation.is_simulated)
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
            "There are no preference pairs yet. Pull feedback on the Annotate tab, or load data that is judged already."
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
