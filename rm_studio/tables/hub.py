"""Datasets of the Hugging Face Hub: found, looked into, read row by row. No code of theirs is run."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import huggingface_hub
import pandas as pd

from rm_studio.config import DataSource
from rm_studio.errors import HubError
from rm_studio.tables.cells import finished
from rm_studio.tables.reading import Reading, from_rows

BATCH = 1_000  # rows
LIMIT_S = 5.0
DATASET_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


class Found(NamedTuple):
    """A dataset that a search found."""

    name: str
    downloads: int
    is_gated: bool


class Parts(NamedTuple):
    """What a dataset has to choose from: splits by subset; and the commit that was looked at."""

    splits: dict[str, list[str]]
    revision: str


def search(words: str, limit: int = 12) -> list[Found]:
    """Datasets whose name has these words, the most downloaded first.

    Raises:
        HubError: the Hub cannot be reached.
    """
    with asked(words):
        api = huggingface_hub.HfApi()
        found = list(api.list_datasets(search=words, sort="downloads", limit=limit, expand=["downloads", "gated"]))
    return [Found(item.id, item.downloads or 0, bool(item.gated)) for item in found]


def parts(name: str, token: str | None = None) -> Parts:
    """The subsets and splits of a dataset, as it stands now.

    Raises:
        HubError: no such dataset, no permission, or no network.
    """
    check_name(name)
    with asked(name):
        from datasets import get_dataset_config_names, get_dataset_split_names

        revision = huggingface_hub.HfApi(token=token or False).dataset_info(name, timeout=LIMIT_S).sha or "main"
        options: dict[str, Any] = {"revision": revision, "token": token or None}
        subsets = get_dataset_config_names(name, **options)
        return Parts({subset: get_dataset_split_names(name, subset, **options) for subset in subsets}, revision)


def pinned(source: DataSource, token: str | None = None) -> DataSource:
    """The source with the commit that the dataset now stands at, so that the same rows can be had again.

    Raises:
        HubError: no such dataset, no permission, or no network.
    """
    if source.kind != "hub" or source.revision:
        return source
    check_name(source.name)
    with asked(source.name):
        found = huggingface_hub.HfApi(token=token or False).dataset_info(source.name, timeout=LIMIT_S)
    return source.model_copy(update={"revision": found.sha})


def first_rows(source: DataSource, token: str | None = None, n: int = 5) -> pd.DataFrame:
    """The first rows, streamed: nothing else is downloaded.

    Raises:
        HubError: as `opened`.
    """
    check_name(source.name)
    return finished(next(_rows(source, token, n), pd.DataFrame()))


def opened(source: DataSource, token: str | None = None) -> Reading:
    """A dataset, ready to be streamed.

    Args:
        source: ``owner/name``, optional subset, split and revision. Nothing else is a dataset here: no
            path, no address, no builder such as ``csv`` that would open local files.
        token: Only for a private or gated dataset; used for this call and kept nowhere.

    Raises:
        HubError: no such dataset, subset or split, no permission, or no network; now, or when its rows are read.
    """
    check_name(source.name)
    return Reading(source.name, "from the Hugging Face Hub", _rows(source, token))


def _rows(source: DataSource, token: str | None, size: int = BATCH) -> Iterator[pd.DataFrame]:
    with asked(source.name):
        from datasets import load_dataset

        stream = iter(
            load_dataset(
                source.name,
                name=source.config or None,
                split=source.split or "train",
                revision=source.revision,
                token=token or None,
                streaming=True,
            )
        )
    while True:
        with asked(source.name, is_reachable=True):
            batch = list(itertools.islice(stream, size))
        if not batch:
            return
        yield from_rows(batch)


def check_name(name: str) -> None:
    """Raise HubError unless this is ``owner/name``: no path, no address, no builder that opens local files."""
    if not DATASET_NAME.fullmatch(name):
        raise HubError(f"“{name}” is not the name of a dataset on the Hub. It looks like owner/name.")


@contextmanager
def asked(name: str, to_write: bool = False, is_reachable: bool = False) -> Iterator[None]:
    """Say in plain words what went wrong with a call to the Hub about this dataset.

    Raises:
        HubError: whatever it was.
    """
    unreachable = HubError(
        f"“{name}” could not be loaded: the Hugging Face Hub could not be reached. Check your Internet "
        "connection and try again. Without one, upload a file or use the sample."
    )
    nowhere = (
        f"There is no dataset “{name}” on the Hub, or it is private. Check the spelling; for a private or gated one, "
        "paste a token that may read it."
    )
    try:  # asked first, because datasets itself tries again for half a minute
        if not is_reachable:
            httpx.head(huggingface_hub.constants.ENDPOINT, timeout=LIMIT_S)
    except httpx.HTTPError as error:
        raise unreachable from error
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        if not to_write and isinstance(error, RepositoryNotFoundError):
            raise HubError(nowhere) from error
        status = getattr(getattr(error, "response", None), "status_code", 401)
        if status in (401, 403, 404):
            doing = "write to" if to_write else "read"
            raise HubError(
                f"The Hub does not let you {doing} “{name}”. Paste a token that may {doing} it, from your settings on "
                "huggingface.co."
            ) from error
        raise HubError(f"The Hub answered with an error ({status}). Try again in a while.") from error
    except DatasetNotFoundError as error:
        raise HubError(nowhere) from error
    except (ConnectionError, httpx.HTTPError) as error:
        raise unreachable from error
    except ValueError as error:  # datasets names the configurations and splits that there are
        raise HubError(f"“{name}” cannot be read so: {_first_line(error)}.") from error
    except HubError:
        raise
    except Exception as error:
        raise HubError(
            f"“{name}” was found, but its files could not be read ({type(error).__name__}). Download them from "
            "its page and load them as a file."
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
