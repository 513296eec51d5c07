"""Tables as people bring them: files, pasted text, datasets of the Hub, the sample. What the columns mean comes later.

Everything is read in batches, so that a million rows take no more memory than ten thousand. Cells become text; what
was a number, a list or an object before is written as JSON and marked (``NOT_TEXT``).
"""

from rm_studio.tables.cells import NOT_TEXT, preview, shorten
from rm_studio.tables.files import FILE_TYPES, MAX_FILE_BYTES
from rm_studio.tables.reading import Reading, Table
from rm_studio.tables.sources import open_source, read_file, read_hub, read_sample
from rm_studio.tables.stored import batches, first_rows, n_rows, store

__all__ = [
    "FILE_TYPES",
    "MAX_FILE_BYTES",
    "NOT_TEXT",
    "Reading",
    "Table",
    "batches",
    "first_rows",
    "n_rows",
    "open_source",
    "preview",
    "read_file",
    "read_hub",
    "read_sample",
    "shorten",
    "store",
]
