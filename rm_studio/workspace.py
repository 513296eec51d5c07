"""The workspace: every path, every atomic read and write, and the projects in it.

One folder holds all state. Everything in it is written to a temporary file beside its target, flushed to
disk and renamed, so that a reader (or a power cut) finds the old content or the new, never a half.
"""

import json
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd
from filelock import FileLock
from platformdirs import user_data_dir
from pydantic import Field, ValidationError

from rm_studio.config import ArgillaDataset, ColumnMapping, DataSource, Question, Selection
from rm_studio.errors import WorkspaceError
from rm_studio.settings import Frozen

HOME_VARIABLE = "RM_STUDIO_HOME"


def now() -> str:
    """The present moment, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of ``path`` only once it was written whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        replace_file(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def replace_file(source: Path, target: Path) -> None:
    """Rename over ``target``; on Windows that is refused for the moment in which somebody reads it."""
    for attempt in range(20):
        try:
            source.replace(target)
            return
        except PermissionError:
            if attempt == 19:
                raise
            time.sleep(0.05)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write ``value`` as JSON, atomically."""
    with atomic(path, mode) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2).encode())


def read_json(path: Path) -> Any:
    """The JSON content of ``path``, or None where there is none (not yet written, or not whole)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet, atomically."""
    with atomic(path) as file:
        frame.to_parquet(file, index=False)


def read_frame(path: Path) -> pd.DataFrame | None:
    """The table at ``path``, or None where there is none yet.

    Raises:
        WorkspaceError: the file is there but damaged.
    """
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise WorkspaceError(
            f"The project's file {path.name} is damaged and cannot be read. Load the data again to replace it."
        ) from error


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as dicts by column name."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))


def stamp(path: Path) -> tuple[int, int]:
    """A cheap token that changes whenever ``path`` is written: (modification time in ns, size in bytes)."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


class ProjectInfo(Frozen):
    """What ``project.json`` holds."""

    name: str
    created_at: str
    seed: int = Field(42, description="Shuffles the answers and splits the prompts.")
    source: DataSource | None = None
    mapping: ColumnMapping | None = None
    selection: Selection = Selection()
    question: Question = Question()
    argilla: ArgillaDataset | None = None
    earlier: tuple[ArgillaDataset, ...] = Field((), description="What was published before, with other questions.")


class Project:
    """One project's folder: its files by name, and the changes to ``project.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slug = folder.name

    def __repr__(self) -> str:
        return f"Project({self.slug!r})"

    @property
    def file(self) -> Path:
        return self.folder / "project.json"

    @property
    def table(self) -> Path:
        """The rows as they were read, before any column got a meaning."""
        return self.folder / "table.parquet"

    @property
    def comparisons(self) -> Path:
        return self.folder / "comparisons.parquet"

    @property
    def feedback(self) -> Path:
        return self.folder / "feedback.parquet"

    @property
    def pairs(self) -> Path:
        return self.folder / "pairs.parquet"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.json"

    @property
    def left_out(self) -> Path:
        """All rows that did not become a comparison, and why; for a spreadsheet."""
        return self.folder / "left_out.csv"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def info(self) -> ProjectInfo:
        """The project as it now stands on disk.

        Raises:
            WorkspaceError: the project was deleted, or its file is damaged.
        """
        content = read_json(self.file)
        if content is None:
            raise WorkspaceError("This project is no longer there. Choose another one, or create a new one.")
        try:
            return ProjectInfo.model_validate(content)
        except ValidationError as error:
            raise WorkspaceError(
                f"The settings of the project “{self.slug}” cannot be read: it may have been made by a newer version."
            ) from error

    def update(self, **changes: Any) -> ProjectInfo:
        """Change fields of ``project.json``; two writers wait for each other."""
        with FileLock(self.folder / ".lock"):
            info = ProjectInfo.model_validate({**dict(self.info), **changes})
            write_json(self.file, info.model_dump(mode="json"))
        return info

    def note_ledger(self, step: str, value: dict[str, Any]) -> None:
        """Replace one step's part of the row ledger."""
        with FileLock(self.folder / ".lock"):
            ledger = read_json(self.ledger) or {}
            write_json(self.ledger, {**ledger, step: value})

    def size_bytes(self) -> int:
        """What deleting the project would free."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


class Workspace:
    """The folder that holds everything RM Studio knows."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            self.projects_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace folder cannot be used ({error.strerror}). Set {HOME_VARIABLE} to a folder that "
                "you may write to."
            ) from error

    @classmethod
    def default(cls) -> "Workspace":
        """``RM_STUDIO_HOME``, else the platform's user data folder."""
        return cls(Path(os.environ.get(HOME_VARIABLE) or user_data_dir("rm-studio", appauthor=False)))

    @property
    def projects_folder(self) -> Path:
        return self.root / "projects"

    @property
    def argilla_folder(self) -> Path:
        return self.root / "argilla"

    @property
    def token_cache(self) -> Path:
        """Texts as token ids, kept so that the next run on the same texts begins at once; may be deleted."""
        return self.root / "cache" / "tokens"

    def projects(self) -> list[Project]:
        """All projects that can be read, the newest first; one made by a newer version waits for that version."""
        found: list[tuple[str, Project]] = []
        for file in self.projects_folder.glob("*/project.json"):
            project = Project(file.parent)
            with suppress(WorkspaceError):
                found.append((project.info.created_at, project))
        return [project for _, project in sorted(found, key=lambda item: item[0], reverse=True)]

    def project(self, slug: str) -> Project:
        """The project with this slug.

        Raises:
            WorkspaceError: there is none, or the slug is not one.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,79}", slug):
            raise WorkspaceError("That is not the name of a project.")
        project = Project(self.projects_folder / slug)
        if not project.file.exists():
            raise WorkspaceError("This project is no longer there. Choose another one, or create a new one.")
        return project

    def create(self, name: str, seed: int = 42) -> Project:
        """Make a new, empty project.

        Raises:
            WorkspaceError: the name is empty, too long or taken.
        """
        name = self._free_name(name)
        with FileLock(self.root / ".lock"):
            slug = self._free_slug(name)
            project = Project(self.projects_folder / slug)
            project.folder.mkdir()
            info = ProjectInfo(name=name, created_at=datetime.now(UTC).isoformat(), seed=seed)
            write_json(project.file, info.model_dump(mode="json"))
        return project

    def rename(self, project: Project, name: str) -> None:
        """Give the project another name; its folder, and so anything that runs in it, stays where it is."""
        if name.strip() != project.info.name:
            project.update(name=self._free_name(name, project))

    def delete(self, project: Project) -> None:
        """Remove the project and all its files. It goes aside first, so that a half-deleted one is never listed."""
        aside = self.root / f".deleted-{project.slug}-{os.getpid()}"
        try:
            project.folder.replace(aside)
        except OSError as error:
            raise WorkspaceError("The project is in use and could not be deleted. Stop its runs first.") from error
        shutil.rmtree(aside, ignore_errors=True)

    def _free_name(self, name: str, mine: Project | None = None) -> str:
        name = " ".join(name.split())
        if not name:
            raise WorkspaceError("Give the project a name.")
        if len(name) > 80:
            raise WorkspaceError("That name is too long: 80 characters at most.")
        others = [project for project in self.projects() if mine is None or project.slug != mine.slug]
        if name.casefold() in {project.info.name.casefold() for project in others}:
            raise WorkspaceError(f"There is already a project called “{name}”. Choose another name.")
        return name

    def _free_slug(self, name: str) -> str:
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:60] or "project"
        slug, number = base, 2
        while (self.projects_folder / slug).exists():
            slug, number = f"{base}-{number}", number + 1
        return slug
