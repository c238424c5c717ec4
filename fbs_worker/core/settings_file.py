"""The file `fbs.env`: settings as `NAME=value` lines, which the environment overrides.

The first of these is read: the file of FBS_ENV_FILE (empty: none), `fbs.env` in the current folder, `fbs.env` in
FBS_HOME. One that another user could have written is not read. A module of its own, because the command line starts
without the settings.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from fbs_worker.core.errors import SettingsError

FILE_NAME: Final = "fbs.env"
PLACE: Final = "FBS_ENV_FILE"
DEFAULT_HOME: Final = "~/.local/share/fbs-worker"

_PREFIXES: Final = ("FBS_", "ODOO_")
_MAX_BYTES: Final = 64 * 1024
_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)", re.ASCII)
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_PLAIN: Final = re.compile(r"[\w@%+=:,./~-]*")
_log = logging.getLogger(__name__)
_added: Final[dict[str, Path]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """A file of settings.

    Attributes:
        path: where it is.
        values: its values by name.
        open_to_others: whether other users can read it.
    """

    path: Path
    values: Mapping[str, str] = field(repr=False)
    open_to_others: bool = False

    def missing_in(self, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The values that an environment has not; NAME and NAME_FILE are one there."""
        present = {_setting(name) for name in environment}
        return ((name, value) for name, value in self.values.items() if _setting(name) not in present)


def find_settings_file(environment: Mapping[str, str] | None = None) -> SettingsFile | None:
    """Read the file of settings; None if there is none. What is wrong with it is logged.

    Args:
        environment: FBS_ENV_FILE and FBS_HOME; None for that of the process.

    Raises:
        SettingsError: the file cannot be read, a line is not `NAME=value`, or FBS_ENV_FILE names one of another user.
    """
    environment = os.environ if environment is None else environment
    if (named := environment.get(PLACE)) is not None:
        return _read(Path(named).expanduser().absolute(), is_named=True) if named else None
    for path in candidates(environment):
        if (file := _read(path)) is not None:
            return file
    return None


def candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files that are looked for: in the current folder, then in FBS_HOME."""
    with suppress(FileNotFoundError):  # the folder is deleted
        yield Path.cwd() / FILE_NAME
    yield Path(environment.get("FBS_HOME") or DEFAULT_HOME).expanduser().absolute() / FILE_NAME


def add_settings_file(environment: MutableMapping[str, str]) -> None:
    """Add what the file of settings has and the environment has not: options of commands are variables, too.

    Raises:
        SettingsError: as `find_settings_file`.
    """
    file = find_settings_file(environment)
    if file is not None:
        added = dict(file.missing_in(environment))
        environment.update(added)
        _added.update(dict.fromkeys(added, file.path))


def origin(name: str) -> str:
    """Where a setting comes from: `the environment`, the path of a file, or `default`."""
    file = find_settings_file()
    sources = dict.fromkeys(os.environ, "the environment") | {
        each: str(path) for each, path in _added.items() if each in os.environ
    }
    sources = {**({each: str(file.path) for each in file.values} if file else {}), **sources}
    own = re.compile(rf"{name}(__\w+)?(_FILE)?", re.IGNORECASE)
    return next((source for each, source in reversed(sources.items()) if own.fullmatch(each)), "default")


def quoted(value: str) -> str:
    """Return a value as it is written in the file; shells read it alike."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\n" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value).replace("\n", "\\n") + '"'


def _setting(name: str) -> str:
    return name.upper().removesuffix("_FILE")


def _read(path: Path, *, is_named: bool = False) -> SettingsFile | None:
    try:
        status = path.stat()
    except OSError as exc:
        if is_named:
            _log.warning("The file %s (%s) cannot be read: %s.", path, PLACE, exc.strerror)
        return None
    state = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode, status.st_uid)
    return _read_once(path, state, is_named=is_named)


@cache
def _read_once(path: Path, _state: tuple[int, ...], *, is_named: bool) -> SettingsFile | None:
    """Read a file once in each state, so that it is complained about once."""
    if reason := _distrusted(path.stat(), path.lstat()):  # before it is opened: that may wait, and be denied
        if is_named:
            raise SettingsError(f"The file {path} is not read: {reason}.", hint=f"Set {PLACE} to a file of your own.")
        _log.warning("The file %s is not read: %s.", path, reason)
        return None
    try:
        with path.open("rb") as file:
            status, content = os.fstat(file.fileno()), file.read(_MAX_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc.strerror if isinstance(exc, OSError) else "it is not text") from None
    if reason := "it is too large" if len(content) > _MAX_BYTES else _distrusted(status):
        raise _unreadable(path, reason)
    open_to_others = bool(status.st_mode & (stat.S_IRGRP | stat.S_IROTH)) and status.st_uid == os.geteuid()
    if open_to_others:
        _log.warning("The file %s can be read by other users: chmod 600 %s", path, path)
    return SettingsFile(path=path, values=dict(_parsed(text, path)), open_to_others=open_to_others)


def _distrusted(*statuses: os.stat_result) -> str:
    """Why a file could be another user's; `statuses` are those of the file, and of a link to it."""
    for status in statuses:
        if status.st_uid not in {os.geteuid(), 0}:
            return f"it belongs to another user (uid {status.st_uid})"
        if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "other users can write to it"
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            return "it is not a file"
    return ""


def _parsed(text: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _unquoted(match[2]) if match else None
        if match is None or value is None:
            raise SettingsError(
                f"Line {number} of {path} is not NAME=value.", hint="Put quotes around a value with blanks or quotes."
            )
        if match[1].startswith(_PREFIXES) and match[1] != PLACE:
            yield match[1], value
        else:
            _log.warning("%s in line %d of %s is not a setting: it is ignored.", match[1], number, path)


def _unquoted(text: str) -> str | None:
    """The value; None if its quotes do not end."""
    if text.startswith("'"):
        match = _SINGLE.fullmatch(text)
        return match[1] if match else None
    if text.startswith('"'):
        match = _DOUBLE.fullmatch(text)
        return re.sub(r"\\(.)", lambda each: "\n" if each[1] == "n" else each[1], match[1]) if match else None
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()


def _unreadable(path: Path, reason: str | None) -> SettingsError:
    return SettingsError(f"The file {path} cannot be read: {reason}.", hint=f"Correct it, or set {PLACE}.")
