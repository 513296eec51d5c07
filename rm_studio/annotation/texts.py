"""How texts get onto Argilla's labelling page, and how a link finds them there."""

import html
import re
from typing import Any
from urllib.parse import quote, urlencode

from rm_studio.config import ArgillaDataset

LINK_WORDS = 8  # of each text, in a link that finds a record


def shown(text: str, use_markdown: bool = False) -> str:
    """Text as Argilla's page must get it to show it literally, or as Markdown without any HTML in it.

    Its text field writes what it gets into the page as HTML (argilla-server 2.8, ``TextField``): unescaped, an
    ``<img onerror>`` in an answer would run. As Markdown, an escaped sign would look wrong inside code; there an
    invisible character (U+2060, the word joiner) after each ``<`` keeps it from opening a tag, in code or not, one
    after each ``!`` keeps an image from being fetched from elsewhere, and one in ``javascript:`` makes it no link.
    """
    if not use_markdown:
        return html.escape(text, quote=False)
    text = text.replace("<", "<\u2060").replace("![", "!\u2060[")
    return re.sub(r"(?i)(javascript|data|vbscript)(\s*:)", "\\1\u2060\\2", text)


def page_of(
    reference: ArgillaDataset,
    comparison: dict[str, Any] | None = None,
    status: str = "pending",
    use_markdown: bool = False,
) -> str:
    """Where people annotate the dataset, or see one comparison of it, as a path below the server's address.

    Argilla's page has no address for a record; it opens on what it is asked to search. The beginnings of the three
    texts, each as a phrase, find the one record. ``status`` is whose list it stands in for who opens the link:
    pending, draft, submitted or discarded.
    """
    path = f"dataset/{reference.id}/annotation-mode"
    if comparison is None:
        return path
    texts = [comparison["prompt"], *comparison["responses"]]
    phrases = [f'"{words}"' for text in texts if (words := _first_words(shown(text, use_markdown)))]
    return f"{path}?{urlencode({'page': 1, 'status': status, 'search': ' '.join(phrases)}, quote_via=quote)}"


def _first_words(text: str) -> str:
    """The first words of a text, as a search must name them; none from a combining accent on, which splits a word."""
    before, *after = re.split(r"[\u0300-\u036f]", text, maxsplit=1)
    words = re.findall(r"[^\W_]+", before)
    return " ".join((words[:-1] if after else words)[:LINK_WORDS])
