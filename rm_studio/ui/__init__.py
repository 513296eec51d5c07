"""The pages: what a person sees and clicks. Nothing outside this folder knows Gradio."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without_stub_files() -> Iterator[None]:
    """Import Gradio without the editor stubs that it writes beside its own source, for each component, each time.

    That is nearly half of its import, and two apps that start at once can trip over the files. Gradio skips it for
    a component whose source file is not known (``component_meta.create_or_modify_pyi``), which is what it is told.
    """
    getfile = inspect.getfile

    def unknown(thing: Any) -> str:
        if hasattr(thing, "EVENTS"):
            raise OSError("no stub file wanted")
        return getfile(thing)

    inspect.getfile = unknown  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = getfile


with _without_stub_files():
    import gradio  # noqa: F401
