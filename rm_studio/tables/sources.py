"""What a `DataSource` describes, opened."""

from pathlib import Path

from rm_studio import assets
from rm_studio.config import DataSource
from rm_studio.errors import DataError
from rm_studio.tables import files, hub
from rm_studio.tables.reading import Reading, Table, chained, read_all


def open_source(source: DataSource, paths: tuple[Path, ...] = (), text: str = "", token: str | None = None) -> Reading:
    """Whatever ``source`` describes, ready to be read.

    Args:
        source: A dataset of the Hub, files, a pasted table or the sample.
        paths: Where uploaded files lie, for ``kind="file"``.
        text: What was pasted, for ``kind="paste"``.
        token: For a private or gated dataset of the Hub; used for this call and kept nowhere.

    Raises:
        DataError: it is not there, or not readable; a HubError for the Hub.
    """
    if source.kind == "hub":
        return hub.opened(source, token)
    if source.kind == "sample":
        return files.opened(assets.path("sample/prompts.jsonl"), "the sample")
    if source.kind == "paste":
        return files.pasted(text)
    if not paths:
        raise DataError("Choose a file first.")
    return chained([files.opened(path, source.name if len(paths) == 1 else path.name) for path in paths])


def read_file(path: Path, name: str | None = None) -> Table:
    """A file's rows in memory, up to ``reading.MAX_ROWS`` of them.

    Raises:
        DataError: it is empty, damaged, too large, or of another kind.
    """
    return read_all(files.opened(path, name))


def read_hub(source: DataSource, token: str | None = None) -> Table:
    """A dataset of the Hub in memory, up to ``reading.MAX_ROWS`` of its rows.

    Raises:
        HubError: as `hub.opened`.
    """
    return read_all(hub.opened(source, token))


def read_sample() -> Table:
    """The sample project's prompts, each with four answers of different quality."""
    return read_all(open_source(DataSource(kind="sample", name="sample")))
