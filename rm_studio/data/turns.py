"""Conversations: recognised in the forms in which datasets keep them, and written as text.

Three forms are known: lists of messages with ``role`` and ``content`` (TRL's conversational form), ShareGPT's with
``from`` and ``value``, and transcripts ("\\n\\nHuman: … \\n\\nAssistant: …") as in hh-rlhf.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "function_call": "tool",
    "observation": "tool",
}
SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
TRANSCRIPT = re.compile(r"\A\s*(?:Human|User|H): ?.*?\n\n(?:Assistant|A):", re.DOTALL)
WRITTEN = re.compile(r"(?:\A|\n\n)(User|Assistant|System): ")
TURN = re.compile(r"(?:\A\s*|\n\n)(Human|User|H|Assistant|A): ?")


class Turn(NamedTuple):
    """What one side said: ``role`` is user, assistant, system or tool."""

    role: str
    text: str


def parse(cell: str | None) -> list[Turn] | None:
    """The turns in a cell, as `tables` reads it (lists and objects as JSON); None where it holds no conversation."""
    if not cell:
        return None
    if cell[0] in "[{":
        return messages(from_json(cell))
    if TRANSCRIPT.match(cell):
        _, *parts = TURN.split(cell)
        roles = ["assistant" if name.startswith("A") else "user" for name in parts[::2]]
        return [Turn(role, text.strip()) for role, text in zip(roles, parts[1::2], strict=True)]
    return None


def written(turns: Sequence[Turn]) -> str:
    """A conversation as text: one question as it is, more with who says what before each turn."""
    if [turn.role for turn in turns] == ["user"]:
        return turns[0].text
    return "\n\n".join(f"{SPEAKERS[turn.role]}: {turn.text}" for turn in turns)


def read_back(text: str) -> list[Turn] | None:
    """The turns of a conversation that `written` made into text; None for any other text."""
    _, *parts = WRITTEN.split(text)
    found = [Turn(ROLES[name.lower()], words) for name, words in zip(parts[::2], parts[1::2], strict=True)]
    return found if len(found) > 1 and written(found) == text and found[-1].role == "user" else None


def answer_written(turns: Sequence[Turn]) -> str:
    """The rest of a conversation, from an assistant's turn on; that it is the assistant's goes without saying."""
    return "\n\n".join([turns[0].text, *([written(turns[1:])] if len(turns) > 1 else [])])


def shared_start(conversations: Sequence[Sequence[Turn]]) -> int | None:
    """How many turns several conversations begin with in common, before the assistant's turn in which they part.

    None where they part in what is asked, or one of them ends before its answer. Equal ones part in their last turn.
    """
    shortest = min(len(turns) for turns in conversations)
    start = 0
    while start < shortest - 1 and len({turns[start] for turns in conversations}) == 1:
        start += 1
    if start == 0 or any(turns[start].role != "assistant" for turns in conversations):
        return None
    return start


def from_json(text: str) -> Any:
    """What a cell's JSON says; None where it is none, or one that nobody can read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a model in a loop may have written thousands of brackets
        return None


def messages(content: Any) -> list[Turn] | None:
    """The turns in a list of messages, in any of the known forms; None where it is something else."""
    if isinstance(content, dict):
        columns = list(content.values())
        if columns and all(isinstance(column, list) for column in columns):  # datasets: a list of structs, turned
            names = list(content)
            content = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=False)]
        else:
            content = [content]
    if not isinstance(content, list) or not content:
        return None
    turns = [_message(entry) for entry in content]
    return [turn for turn in turns if turn] if all(turns) else None


def _message(entry: Any) -> Turn | None:
    if not isinstance(entry, dict):
        return None
    role = ROLES.get(str(entry.get("role", entry.get("from"))).lower())
    text = entry.get("content", entry.get("value"))
    if isinstance(text, list):  # parts, of which only the texts can be read
        parts = [part.get("text") for part in text if isinstance(part, dict) and part.get("type", "text") == "text"]
        text = "\n".join(part for part in parts if isinstance(part, str)) if len(parts) == len(text) else None
    return Turn(role, text) if role and isinstance(text, str) else None
