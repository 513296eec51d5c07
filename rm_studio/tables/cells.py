"""Cells of a table: made text, marked where they were none, shortened for a page."""

import json
from typing import Any

import pandas as pd

NOT_TEXT = "_not_text"  # names the columns of a row whose cell was no text before it was stored


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with every cell a text or nothing, and a column ``NOT_TEXT`` that names those that were neither."""
    frame = frame.rename(columns=str).reset_index(drop=True)
    odd: list[list[str]] = [[] for _ in range(len(frame))]
    columns: dict[str, list[str | None]] = {}
    for column in frame.columns:
        values: list[str | None] = []
        for row, value in enumerate(frame[column].tolist()):
            if isinstance(value, str):  # half a surrogate pair cannot be stored as UTF-8
                values.append(value if value.isascii() else value.encode("utf-8", "replace").decode())
            elif value is None or (isinstance(value, float) and pd.isna(value)) or value is pd.NaT:
                values.append(None)
            else:
                values.append(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode())
                odd[row].append(column)
        columns[column] = values
    return pd.DataFrame({**columns, NOT_TEXT: odd}, dtype=object)


def preview(frame: pd.DataFrame, rows: int = 20, width: int = 300) -> pd.DataFrame:
    """The first rows with every cell as short text, safe to hand to a page."""
    shown = frame.drop(columns=NOT_TEXT, errors="ignore").head(rows)
    return shown.map(lambda value: shorten(value, width))


def shorten(value: Any, width: int = 300) -> str:
    """A cell as text of at most ``width`` characters; empty for nothing."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    text = value[: width + 1] if isinstance(value, str) else str(value)[: width + 1]
    text = text.replace("\x00", "�")
    return text if len(text) <= width else f"{text[:width]}…"
