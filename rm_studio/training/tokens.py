"""Pairs as token ids: made once, kept by content, read from disk while training. Only the worker imports this."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar

from rm_studio.encoding import TextFormat, encode
from rm_studio.workspace import stamp

TEXTS = ["prompt", "chosen", "rejected"]
ROWS_AT_ONCE = 500
KEPT_FILES = 12


class Tokens(NamedTuple):
    """Rows of ``chosen_ids``, ``rejected_ids``, ``p_chosen`` and ``strength``; which of the pairs they are; how many of
    these lost the beginning of their prompt."""

    dataset: Dataset
    pairs: pd.DataFrame
    shortened: int


def tokenise(
    pairs: pd.DataFrame,
    tokenizer: Any,
    text_format: TextFormat,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tokens:
    """Encode both answers of each pair; pairs with an answer that does not fit are left out.

    The result lies in ``folder`` under a name made of what it depends on, so the same texts and tokenizer find it
    again. Memory does not grow with the number of pairs: rows are written as they are made, and mapped when read.
    """
    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(pairs, tokenizer, text_format)}.arrow"
    done = 0

    def encoded(batch: dict[str, list[str]]) -> dict[str, Any]:
        nonlocal done
        both = encode(tokenizer, text_format, batch["prompt"] * 2, batch["chosen"] + batch["rejected"])
        n = len(batch["prompt"])
        done += n
        on_progress(done, len(pairs))
        answer_cut, prompt_cut = np.array(both.answer_cut), np.array(both.prompt_cut)
        return {
            "chosen_ids": [np.array(ids, dtype=np.int32) for ids in both.ids[:n]],
            "rejected_ids": [np.array(ids, dtype=np.int32) for ids in both.ids[n:]],
            "fits": ~(answer_cut[:n] | answer_cut[n:]),
            "shortened": prompt_cut[:n] | prompt_cut[n:],
        }

    found = Dataset.from_pandas(pairs[TEXTS], preserve_index=False).map(
        encoded,
        batched=True,
        batch_size=ROWS_AT_ONCE,
        remove_columns=TEXTS,
        cache_file_name=str(file),
        new_fingerprint=file.stem,
    )
    os.utime(file)
    _remove_old(folder)
    fits = np.flatnonzero(found["fits"])
    shortened = int(np.array(found["shortened"], dtype=bool)[fits].sum())
    for name, default in (("p_chosen", 1.0), ("strength", 0.0)):
        values = pairs[name].fillna(default) if name in pairs else pd.Series(default, index=pairs.index)
        found = found.add_column(name, values.to_numpy(dtype=np.float32))
    found = found.remove_columns(["fits", "shortened"])
    return Tokens(found if len(fits) == len(pairs) else found.select(fits), pairs.iloc[fits], shortened)


def _key(pairs: pd.DataFrame, tokenizer: Any, text_format: TextFormat) -> str:
    """The name of all that the ids depend on."""
    digest = hashlib.sha256()
    for part in (tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, text_format.model_dump_json()):
        digest.update(str(part).encode())
    for name in TEXTS:
        digest.update(pd.util.hash_pandas_object(pairs[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()[:32]


def _remove_old(folder: Path) -> None:
    for file in sorted(folder.glob("*.arrow"), key=lambda file: -stamp(file)[0])[KEPT_FILES:]:
        with suppress(OSError):  # another process cleans up too, or (Windows) still reads it
            file.unlink(missing_ok=True)
