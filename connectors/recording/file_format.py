"""The file of a recording: one JSON object, compressed with xz unless the name ends with `.json`.

    {"format": 1,
     "server": {"series": "19.0", "database": "live"},
     "tables": {"ir.model": {"columns": ["id", "model", …], "rows": [[1, "ir.model", …], …]}, …},
     "fields": {"ir.model": {"model": {"type": "char", "string": "Model", …}, …}, …},
     "available": [{"model": "res.partner", "display_name": "Contact"}, …],
     "denied": {"ir.ui.view": ["Role / Administrator"], …}}

`fields` is what `fields_get` said, `available` what `ir.model.get_available_models` said, `denied` which tables the
recording's user could not read, with the groups that could.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from fbs_worker.connectors.base import ServerInfo
from fbs_worker.core.errors import RecordingError

FORMAT: Final = 1
_XZ_MAGIC: Final = b"\xfd7zXZ\x00"
_HINT_ANEW: Final = "Make it anew with `fbs record FILE`, or copy it again."

FieldsOfModels = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTable:
    """The recorded rows of one model.

    Attributes:
        columns: the recorded fields, `id` among them.
        rows: a value per column. A many2one is an id (or `[id, name]`) or False, other relations lists of ids.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a recording holds; see this module for the file.

    Attributes:
        series: the recorded server's series.
        database: its database.
        tables: recorded tables by model.
        fields: what `fields_get` said, by model.
        available: what `get_available_models` said.
        denied: groups that may read a table, by the models of tables that could not be read.
    """

    series: str
    database: str
    tables: Mapping[str, RecordedTable]
    fields: FieldsOfModels = field(default_factory=dict)
    available: Sequence[Mapping[str, str]] = ()
    denied: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_recording(
    path: Path,
    *,
    server: ServerInfo,
    tables: Mapping[str, RecordedTable],
    fields: FieldsOfModels,
    available: Sequence[Mapping[str, str]] = (),
    denied: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a recording; a file of that name is replaced at once, when the new one is complete.

    Args:
        path: the file; compressed unless its name ends with `.json`.
        server: the server that was read; its URL is left out.
        tables: recorded tables by model.
        fields: what `fields_get` said, by model.
        available: what `get_available_models` said.
        denied: groups that may read a table, by the models of tables that could not be read.

    Raises:
        RecordingError: the file cannot be written.
    """
    content = orjson.dumps(
        {
            "format": FORMAT,
            "server": {"series": server.series, "database": server.database},
            "tables": {model: {"columns": table.columns, "rows": table.rows} for model, table in tables.items()},
            "fields": fields,
            "available": available,
            "denied": denied or {},
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    if path.suffix != ".json":
        content = lzma.compress(content, preset=lzma.PRESET_EXTREME | 6)
    if path.is_dir():
        raise RecordingError(f"{path} is a folder.", hint="Name a file, e.g. odoo.json.xz in it.")
    try:
        _replace(path, content)
    except OSError as exc:
        raise RecordingError(
            f"The recording {path} cannot be written: {exc.strerror or exc}.", hint="Name a file in a folder of yours."
        ) from exc


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        RecordingError: it is not there, damaged, not a recording, or of another format.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordingError(f"There is no recording {path}.", hint="Check the name after `recording:`.") from None
    except OSError as exc:
        raise RecordingError(
            f"The recording {path} cannot be read: {exc.strerror or exc}.", hint="Check the name after `recording:`."
        ) from exc
    try:
        told = orjson.loads(lzma.decompress(content) if content.startswith(_XZ_MAGIC) else content)
    except (lzma.LZMAError, orjson.JSONDecodeError, EOFError) as exc:
        raise RecordingError(f"The recording {path} is damaged.", hint=_HINT_ANEW) from exc
    if not isinstance(told, dict) or "format" not in told:
        raise RecordingError(f"{path} is not a recording of an Odoo.", hint=_HINT_ANEW)
    if told["format"] != FORMAT:
        raise RecordingError(
            f"The recording {path} has format {told['format']!r}; this version reads {FORMAT}.", hint=_HINT_ANEW
        )
    try:
        return _recording_of(told)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordingError(f"The recording {path} is incomplete.", hint=_HINT_ANEW) from exc


def _recording_of(told: Mapping[str, Any]) -> Recording:
    return Recording(
        series=str(told["server"]["series"]),
        database=str(told["server"]["database"]),
        tables={model: _table_of(table) for model, table in told["tables"].items()},
        fields={model: dict(fields) for model, fields in told.get("fields", {}).items()},
        available=list(told.get("available", ())),
        denied={model: list(groups) for model, groups in told.get("denied", {}).items()},
    )


def _table_of(told: Mapping[str, Any]) -> RecordedTable:
    table = RecordedTable(columns=list(told["columns"]), rows=list(told["rows"]))
    if "id" not in table.columns or any(len(row) != len(table.columns) for row in table.rows):
        raise ValueError("columns and rows do not fit together")
    return table


def _replace(path: Path, content: bytes) -> None:
    """Put the content in the place of the file, so that a reader sees the old or the new one, never a part."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp makes it 0600; a recording holds no secret, and is made to be handed on
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
