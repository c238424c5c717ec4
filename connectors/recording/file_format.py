"""File format of recordings: one JSON object, compressed with xz unless the name ends with `.json`.

{"format": 1,
 "server": {"series": "19.0", "database": "live"},
 "tables": {"ir.model": {"columns": ["id", "model", …], "rows": [[1, "ir.model", …], …]}, …},
 "fields": {"ir.model": {"model": {"type": "char", "string": "Model", …}, …}, …},
 "available": [{"model": "res.partner", "display_name": "Contact"}, …],
 "denied": {"ir.ui.view": ["Role / Administrator"], …}}
"""

from __future__ import annotations

import lzma
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from fbs_worker.core.errors import RecordingError

FORMAT: Final = 1
HINT_AGAIN: Final = "Record it again with `fbs record FILE`, or copy the file again."

_XZ_MAGIC: Final = b"\xfd7zXZ\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTable:
    """The recorded rows of one model.

    Attributes:
        columns: the recorded fields, including `id`.
        rows: a value per column. A many2one is an id or False; other relations are lists of ids.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The content of a recording.

    Attributes:
        series: the recorded server's series.
        database: the recorded database.
        tables: recorded tables by model.
        fields: results of `fields_get`, by model.
        available: result of `ir.model.get_available_models`.
        denied: groups that grant access, by model of each table that the recording user may not read.
    """

    series: str
    database: str
    tables: Mapping[str, RecordedTable]
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    available: Sequence[Mapping[str, str]] = ()
    denied: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording; an existing file is replaced atomically.

    Args:
        path: the file; compressed unless its name ends with `.json`.
        recording: its content.

    Raises:
        RecordingError: the file cannot be written.
    """
    document = {
        "format": FORMAT,
        "server": {"series": recording.series, "database": recording.database},
        "tables": recording.tables,
        "fields": recording.fields,
        "available": recording.available,
        "denied": recording.denied,
    }
    content = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    if path.suffix != ".json":
        content = lzma.compress(content, preset=lzma.PRESET_EXTREME | 6)
    if path.is_dir():
        raise RecordingError(f"{path} is a folder.", hint="Use the name of a file, e.g. odoo.json.xz in that folder.")
    try:
        _replace(path, content)
    except OSError as exc:
        raise RecordingError(
            f"The recording {path} cannot be written: {exc.strerror or exc}.", hint="Use a file in a writable folder."
        ) from exc


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Args:
        path: the file, compressed or not.

    Returns:
        Its content.

    Raises:
        RecordingError: the file is missing, damaged, not a recording, or of another format version.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        missing = isinstance(exc, FileNotFoundError)
        raise RecordingError(
            f"There is no recording {path}."
            if missing
            else f"The recording {path} cannot be read: {exc.strerror or exc}.",
            hint="Check the name after `recording:`.",
        ) from exc
    try:
        document = orjson.loads(lzma.decompress(content) if content.startswith(_XZ_MAGIC) else content)
    except (lzma.LZMAError, orjson.JSONDecodeError, EOFError) as exc:
        raise RecordingError(f"The recording {path} is damaged.", hint=HINT_AGAIN) from exc
    if not isinstance(document, dict) or "format" not in document:
        raise RecordingError(f"{path} is not a recording of an Odoo.", hint=HINT_AGAIN)
    if document["format"] != FORMAT:
        raise RecordingError(
            f"The recording {path} has format {document['format']!r}; this version reads {FORMAT}.", hint=HINT_AGAIN
        )
    try:
        return Recording(
            series=document["server"]["series"],
            database=document["server"]["database"],
            tables={model: _table(**table) for model, table in document["tables"].items()},
            fields=document.get("fields", {}),
            available=document.get("available", ()),
            denied=document.get("denied", {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordingError(f"The recording {path} is incomplete.", hint=HINT_AGAIN) from exc


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> RecordedTable:
    if "id" not in columns or any(len(row) != len(columns) for row in rows):
        raise ValueError("a row has more or fewer values than there are columns")
    return RecordedTable(columns=columns, rows=rows)


def _replace(path: Path, content: bytes) -> None:
    """Replace the file atomically: a concurrent reader sees the old or the new content."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp creates it with 0600; a recording has no secrets and is meant to be shared
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
