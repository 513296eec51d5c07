"""Words in the server's own SQLite file: the full-text index, what keeps it in step, and the query language.

Triggers on ``records`` write the index in the very transaction that writes the record, whoever writes it, so a kill
at any point leaves both or neither. What a search box accepts is the part of Elasticsearch's *simple query string*
that people meet, with its default of AND between words:

    word   "a phrase"   pre*   word~1   "a phrase"~2   a + b   a | b   -a   ( … )   \\ before a sign means the sign

Only the server's own interpreter imports this module.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MOST_WORDS = 60  # of one query; what follows them is ignored
MOST_FUZZY = 3  # words of one query that may differ; further ones are taken as they are
MOST_NESTED = 40  # parentheses; deeper ones count as spaces
MOST_SIMILAR = 10  # spellings that word~ stands for, as Elasticsearch's fuzzy_max_expansions here

# The text of one field: a chat's messages (with their roles) and what a custom field holds are read leaf by leaf.
_TEXT = """CASE entry.type
    WHEN 'array' THEN (SELECT group_concat(leaf.atom, ' ') FROM json_tree(entry.value) AS leaf)
    WHEN 'object' THEN (SELECT group_concat(leaf.key || ' ' || coalesce(leaf.atom, ''), ' ')
                        FROM json_tree(entry.value) AS leaf WHERE leaf.key IS NOT NULL)
    ELSE entry.value END"""
_ENTRIES = f"""INSERT INTO studio_texts (record_id, field, text)
    SELECT record.id, entry.key, {_TEXT}
    FROM {{record}} AS record, json_each(record.fields) AS entry
    JOIN fields ON fields.dataset_id = record.dataset_id AND fields.name = entry.key
    WHERE entry.value IS NOT NULL AND json_extract(fields.settings, '$.type') <> 'image'"""
_NEW_ENTRIES = _ENTRIES.format(record="(SELECT new.id AS id, new.dataset_id AS dataset_id, new.fields AS fields)")

SCHEMA = (
    """CREATE TABLE studio_texts (
        id INTEGER PRIMARY KEY, record_id CHAR(32) NOT NULL, field VARCHAR NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX studio_texts_record ON studio_texts (record_id)",
    # Accents count, as for Elasticsearch's standard analyzer.
    """CREATE VIRTUAL TABLE studio_words USING fts5(
        text, content='studio_texts', content_rowid='id', tokenize="unicode61 remove_diacritics 0")""",
    "CREATE VIRTUAL TABLE studio_vocabulary USING fts5vocab(studio_words, row)",
    """CREATE TRIGGER studio_texts_insert AFTER INSERT ON studio_texts BEGIN
        INSERT INTO studio_words (rowid, text) VALUES (new.id, new.text); END""",
    """CREATE TRIGGER studio_texts_delete AFTER DELETE ON studio_texts BEGIN
        INSERT INTO studio_words (studio_words, rowid, text) VALUES ('delete', old.id, old.text); END""",
    f"CREATE TRIGGER studio_records_insert AFTER INSERT ON records BEGIN {_NEW_ENTRIES}; END",
    f"""CREATE TRIGGER studio_records_update AFTER UPDATE OF fields ON records WHEN old.fields IS NOT new.fields BEGIN
        DELETE FROM studio_texts WHERE record_id = old.id; {_NEW_ENTRIES}; END""",
    """CREATE TRIGGER studio_records_delete AFTER DELETE ON records BEGIN
        DELETE FROM studio_texts WHERE record_id = old.id; END""",
    # What the labelling page asks all the time, answered from narrow indexes instead of rows full of text.
    "CREATE INDEX studio_queue ON records (dataset_id, status, id)",
    "CREATE INDEX studio_arrival ON records (dataset_id, inserted_at)",
    "CREATE INDEX studio_state ON records (id, dataset_id, status)",
    "CREATE INDEX studio_answers ON responses (user_id, status, record_id)",
)
VERSION = hashlib.sha256("\n".join([*SCHEMA, _ENTRIES]).encode()).hexdigest()


def prepare(database: sqlite3.Connection) -> bool:
    """Make the index, or make it anew when it cannot be vouched for; True if that was needed.

    SQLite counts every change of a file's tables, triggers and numbering (``PRAGMA schema_version``; a VACUUM and a
    migration count too). The index notes the count it was made at: the same count at the next start means that the
    triggers were there all the time.
    """
    if _noted(database) == (VERSION, _changes(database)):
        return False
    with database:
        database.execute("BEGIN IMMEDIATE")
        ours = "SELECT type, name FROM sqlite_master WHERE name GLOB 'studio_*' AND sql IS NOT NULL"
        for kind in ("trigger", "index", "table"):
            for _, name in [row for row in database.execute(ours).fetchall() if row[0] == kind]:
                database.execute(f'DROP {kind} IF EXISTS "{name}"')
        for statement in SCHEMA:
            database.execute(statement)
        database.execute(_ENTRIES.format(record="records"))
        database.execute("CREATE TABLE studio_search (version TEXT, changes INTEGER)")
        database.execute("INSERT INTO studio_search VALUES (?, 0)", [VERSION])
    with database:
        database.execute("UPDATE studio_search SET changes = ?", [_changes(database)])
    return True


def _changes(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA schema_version").fetchone()[0])


def _noted(database: sqlite3.Connection) -> tuple[str, int] | None:
    try:
        return database.execute("SELECT version, changes FROM studio_search").fetchone()
    except sqlite3.OperationalError:
        return None


class Words(NamedTuple):
    """A word, or a phrase whose words may stand ``slop`` apart; ``edits``: letters that may differ."""

    text: str
    prefix: bool = False
    edits: int = 0
    slop: int = 0


class Not(NamedTuple):
    part: "Node"


class Every(NamedTuple):
    parts: "tuple[Node, ...]"


class Either(NamedTuple):
    parts: "tuple[Node, ...]"


Node = Words | Not | Every | Either


def parse(query: str) -> Node | None:
    """What a query means, or None where it asks for nothing; there are no wrong queries, as in Elasticsearch.

    As there, ``+`` and ``|`` bind equally and from left to right.
    """
    readable = query.replace("\x00", " ").encode("utf-8", "replace").decode()
    return _Parser(readable).group(0)


class _Parser:
    def __init__(self, query: str) -> None:
        self.query = query
        self.place = 0
        self.words = 0
        self.fuzzy = 0

    def group(self, depth: int) -> Node | None:
        """Everything up to the parenthesis that closes this group, or to the end."""
        found: Node | None = None
        join: type[Every] | type[Either] = Every
        negated = False
        while self.place < len(self.query) and self.words < MOST_WORDS:
            sign = self.query[self.place]
            part: Node | None
            if sign == ")":
                self.place += 1
                if depth:
                    return found
                continue
            if sign == "(":
                self.place += 1
                if depth >= MOST_NESTED:
                    continue
                part = self.group(depth + 1)
            elif sign in "+|-" or sign.isspace():
                self.place += 1
                if sign == "-":
                    negated = not negated
                elif sign == "|":
                    join = Either
                continue
            else:
                part = self.phrase() if sign == '"' else self.word()
            if part is not None:
                part = Not(part) if negated else part
                found = part if found is None else _joined(join, found, part)
            join, negated = Every, False
        return found

    def phrase(self) -> Words | None:
        end = self.place + 1
        while end < len(self.query) and self.query[end] != '"':
            end += 2 if self.query[end] == "\\" else 1
        if end >= len(self.query):  # never closed: the sign means nothing
            self.place += 1
            return None
        text = re.sub(r"\\(.)", r"\1", self.query[self.place + 1 : end])
        self.place = end + 1
        return self._counted(text, slop=self._number_after_tilde() or 0)

    def word(self) -> Words | None:
        letters = []
        while self.place < len(self.query):
            sign = self.query[self.place]
            if sign.isspace() or sign in '"|+()' or (sign == "~" and letters):
                break
            if sign == "\\" and self.place + 1 < len(self.query):
                self.place += 1
                sign = self.query[self.place]
            elif sign == "*" and self._ends_after(self.place):
                self.place += 1
                return self._counted("".join(letters), prefix=True)
            letters.append(sign)
            self.place += 1
        edits = self._number_after_tilde()
        return self._counted("".join(letters), edits=0 if edits is None else min(edits, 2))

    def _ends_after(self, place: int) -> bool:
        after = self.query[place + 1 : place + 2]
        return not after or after.isspace() or after in '"|+()'

    def _number_after_tilde(self) -> int | None:
        """How much may differ, by what follows a word or a phrase: ``~1``, or ``~`` alone for 2."""
        found = re.match(r"~(\d{0,3})", self.query[self.place : self.place + 5])
        if found is None:
            return None
        self.place += found.end()
        return int(found[1]) if found[1] else 2

    def _counted(self, text: str, prefix: bool = False, edits: int = 0, slop: int = 0) -> Words | None:
        if not any(letter.isalnum() for letter in text):
            return None
        self.words += 1
        self.fuzzy += bool(edits)
        edits = edits if self.fuzzy <= MOST_FUZZY else 0
        return Words(text, prefix, edits, slop)


def _joined(join: type[Every] | type[Either], found: Node, part: Node) -> Node:
    parts = found.parts if isinstance(found, join) else (found,)
    return join((*parts, part))


def expression(words: Words, spellings: Iterable[str] = ()) -> str:
    """The words as FTS5 asks for them; ``spellings`` take the place of a word that may differ."""
    if words.edits:
        return " OR ".join(_quoted(spelling) for spelling in spellings) or '""'
    if words.slop:
        return f"NEAR({' '.join(_quoted(word) for word in words.text.split())}, {words.slop})"
    return _quoted(words.text) + ("*" if words.prefix else "")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def without_spaces(words: Words) -> bool:
    """Whether the text is in a script that puts no space between words, where FTS5 would index whole sentences."""
    return re.search(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]", words.text) is not None


def leaves(node: Node, wanted: bool = True) -> Iterator[tuple[Words, bool]]:
    """Every word of a query, and whether it is wanted (or shut out by a minus)."""
    if isinstance(node, Words):
        yield node, wanted
    elif isinstance(node, Not):
        yield from leaves(node.part, not wanted)
    else:
        for part in node.parts:
            yield from leaves(part, wanted)


def similar(words: Words, vocabulary: Iterable[str]) -> list[str]:
    """The spellings of a vocabulary within ``words.edits`` letters of a word, the nearest first."""
    sought = words.text.lower()
    near = [(distance, term) for term in vocabulary if (distance := _edits(sought, term, words.edits)) <= words.edits]
    return [term for _, term in sorted(near)[:MOST_SIMILAR]]


def _edits(one: str, other: str, most: int) -> int:
    """Levenshtein's distance, or more than ``most`` as soon as it must be."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        before, row = row, [place]
        for column, against in enumerate(other, start=1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != against)))
        if min(row) > most:
            return most + 1
    return row[-1]
