"""`fbs doctor`: everything that a job needs, and where its settings come from, a line each.

Redis, the home database, queues and workers are those checks of `fbs_worker.ops.health`; what their facts mean is
assessed here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from fbs_worker._version import __version__
from fbs_worker.core import redis as queue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SecretError
from fbs_worker.core.fanout import fan_out
from fbs_worker.core.settings import Settings
from fbs_worker.core.settings_file import find_settings_file, origin
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.ops.health import Check, Health, HealthReport, check_database, check_health
from fbs_worker.ops.local.state import effective_settings
from fbs_worker.scheduling.service import BEAT, open_home
from fbs_worker.solutions.odoo_connections import DATABASE, list_odoo
from fbs_worker.solutions.registry import SolutionRecord

PROBE_SECONDS: Final = 3.0
"""How long workers may take to answer."""

_LIMIT_SECONDS: Final = 12.0
"""The end of all checks, whatever hangs."""

_CLOCK_SECONDS: Final = 5.0
"""A difference of clocks that is worth a warning."""

_START: Final = "`fbs up` brings one, `fbs init` asks for yours; or set"
_FULL: Final = 0.9
_FREE_BYTES: Final = 1e9
_OLDEST_POSTGRES: Final = 14
_SHOWN_URLS: Final[Mapping[str, Callable[[str], str]]] = {
    "odoo_url": lambda url: url.rpartition("@")[2],
    "fbs_database_url": lambda url: DatabaseConfig.from_url(url).address(),
    "fbs_redis_url": queue.address,
}


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: what was looked at, e.g. `odoo default` or `FBS_REDIS_URL`.
        level: how serious it is.
        detail: what was found, without a secret.
        hint: what to do about it.
    """

    name: str
    level: Level
    detail: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "level": str(self.level)}


OdooCheck = Callable[[Settings, str], dict[str, Any]]
"""The task `fbs.test_odoo`: logs in to the Odoo of a connection; raises FBSError."""


def diagnose(settings: Settings, check_odoo: OdooCheck, *, options: Iterable[str] = ()) -> list[Finding]:
    """Check everything, side by side.

    Args:
        settings: the settings of this process, without those of a running `fbs up`.
        check_odoo: checks a connection to Odoo.
        options: the variables of options of commands.

    Returns:
        The findings, those of the settings first. What does not answer in time is an error.
    """
    effective = effective_settings(settings)
    calls: list[tuple[str, Callable[[], Sequence[Finding]]]] = [
        ("keys", lambda: [_keys(effective)]),
        *(
            (f"odoo {name}", lambda name=name: list(_odoo(effective, name, check_odoo)))
            for name in settings.odoo_names()
        ),
        ("odoo", lambda: _stored_odoos(effective, check_odoo)),
        ("servers", lambda: list(_servers(effective))),
        *([("beat", lambda: [_beat(effective)])] if effective.fbs_redis_url else []),
        ("disk", lambda: [_disk(settings.home())]),
    ]
    guarded = [(name, lambda name=name, call=call: _guarded(name, call)) for name, call in calls]
    findings = [*_settings(settings, effective), *_misspelt({*map(str.upper, type(settings).model_fields), *options})]
    for (name, _), found in zip(calls, fan_out(guarded, seconds=_LIMIT_SECONDS), strict=True):
        late = Finding(name=name, level=Level.ERROR, detail=f"no answer within {_LIMIT_SECONDS:g} s")
        findings += [late] if found is None else found
    return findings


def _guarded(name: str, call: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    try:
        return call()
    except FBSError as exc:
        return [Finding(name=name, level=Level.ERROR, detail=exc.message, hint=exc.hint)]


def _settings(settings: Settings, effective: Settings) -> Iterator[Finding]:
    """The file of settings, and each setting that is set, with its origin."""
    file = find_settings_file()
    if file is None:
        yield Finding(name="fbs.env", level=Level.OK, detail="there is none")
    elif file.open_to_others:
        hint = f"chmod 600 {file.path}"
        yield Finding(name="fbs.env", level=Level.WARNING, detail=f"other users can read {file.path}", hint=hint)
    else:
        yield Finding(name="fbs.env", level=Level.OK, detail=str(file.path))
    for name in type(settings).model_fields:
        source = origin(name)
        if source == "default":
            if getattr(effective, name) == getattr(settings, name):
                continue
            source = "`fbs up`"
        yield Finding(name=name.upper(), level=Level.OK, detail=f"{_shown(name, getattr(effective, name))} ({source})")


def _misspelt(known: Collection[str]) -> Iterator[Finding]:
    """Variables that have nearly the name of a setting."""
    file = find_settings_file()
    for name in sorted({*os.environ, *(file.values if file else ())}):
        setting = name.removesuffix("_FILE").partition("__")[0]
        if not name.startswith(("FBS_", "ODOO_")) or setting in known:
            continue
        if near := get_close_matches(setting, known, n=1, cutoff=0.85):
            hint = f"Did you mean {near[0]}?"
            yield Finding(name=name, level=Level.WARNING, detail="it is no setting", hint=hint)


def _shown(name: str, value: Any) -> str:
    """A value, if it cannot hold a secret."""
    if name in _SHOWN_URLS:
        with suppress(FBSError):
            return _SHOWN_URLS[name](value) or "empty"
        return "not valid"
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "empty"
    if name == "fbs_odoo":
        return ", ".join(sorted(value)) or "empty"
    return "set" if name.endswith("_url") and value else str(value) if value != "" else "empty"


def _stored_odoos(settings: Settings, check_odoo: OdooCheck) -> Sequence[Finding]:
    """The connections of the home database; a warning where there is none anywhere."""
    names = []
    if settings.fbs_database_url:
        try:
            listed = list_odoo(settings)["connections"]
        except FBSError:  # the check of the home database says so
            return []
        names = [each["name"] for each in listed if each["origin"] == DATABASE and not each["overridden_by"]]
    if not names and not settings.odoo_names():
        hint = "`fbs init` asks for one, `fbs odoo add` stores one."
        return [Finding(name="odoo", level=Level.WARNING, detail="none is set", hint=hint)]
    calls = [
        (name, lambda name=name: _guarded(f"odoo {name}", lambda: list(_odoo(settings, name, check_odoo))))
        for name in names
    ]
    return [finding for found in fan_out(calls) for finding in found or ()]


def _odoo(settings: Settings, name: str, check_odoo: OdooCheck) -> Iterator[Finding]:
    result, subject = check_odoo(settings, name), f"odoo {name}"
    source = result["source"]
    detail = f"version {source['series']}, {source['url']}, database {source['database']}, {result['protocol']}"
    yield Finding(name=subject, level=Level.OK, detail=f"{detail}, a call takes {result['call_ms']:,.0f} ms")
    for section in result["sections"]:
        if section["status"] != "complete":
            detail = f"the user may not read all of {section['name']} ({section['status']})"
            needs = section.get("needs")
            hint = f"Give the user {needs}, or accept the gap." if needs else "Accept the gap, or ask for the right."
            yield Finding(name=subject, level=Level.WARNING, detail=detail, hint=hint)
    if result["clock_offset"] is not None:
        yield _clock(subject, result["clock_offset"])


def _keys(settings: Settings) -> Finding:
    """Whether the keys decrypt the passwords that solutions have in the home database."""
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    if not vault.has_keys:
        hint = "`fbs init` and `fbs up` make one; or set FBS_SECRET_KEYS to that of `fbs new-key`."
        return Finding(name="keys", level=Level.WARNING, detail="none: no password can be stored", hint=hint)
    lost = []
    if settings.fbs_database_url:
        with (
            suppress(FBSError),
            open_home(settings, seconds=PROBE_SECONDS) as (registry, _),
        ):  # reported by its own check
            for record in registry.entries():
                password = record.database.password.get_secret_value() if isinstance(record, SolutionRecord) else ""
                try:
                    vault.resolve(password, allow_plain=True) if password.startswith(ENCRYPTED) else None
                except SecretError:
                    lost.append(record.solution_name)
    if lost:
        hint = "Add the key that they were stored with to FBS_SECRET_KEYS, or set them up again."
        return Finding(name="keys", level=Level.ERROR, detail=f"no key decrypts: {', '.join(lost)}", hint=hint)
    return Finding(name="keys", level=Level.OK, detail="set; no stored password is known that they do not decrypt")


def _servers(settings: Settings) -> Iterator[Finding]:
    """What `fbs health` checks, with what its facts mean."""
    home = "home database"
    if settings.fbs_redis_url:
        report = check_health(settings, seconds=PROBE_SECONDS)
    else:
        yield Finding(
            name="redis", level=Level.ERROR, detail="none: no job can be enqueued", hint=f"{_START} FBS_REDIS_URL."
        )
        checks = [check_database(settings, seconds=PROBE_SECONDS)] if settings.fbs_database_url else []
        report = HealthReport(checks=tuple(checks))
    for check in report.checks:
        yield _of_check(check)
        facts = check.facts or {}
        if check.name == "redis" and check.health is Health.FINE:
            yield from _redis(facts)
        if check.name == home and check.health is Health.FINE:
            yield from _postgres(facts)
    if not settings.fbs_database_url:
        hint = f"{_START} FBS_DATABASE_URL."
        yield Finding(name=home, level=Level.WARNING, detail="none: no solution can be set up", hint=hint)
    yield from _workers(report)


def _of_check(check: Check) -> Finding:
    levels = {Health.FINE: Level.WARNING if check.hint else Level.OK, Health.FAILED: Level.ERROR}
    level = levels.get(check.health, Level.WARNING)
    version = (check.facts or {}).get("version")
    detail = f"version {version}, {check.detail}" if version else check.detail
    return Finding(name=check.name, level=level, detail=detail, hint=check.hint)


def _redis(facts: Mapping[str, Any]) -> Iterator[Finding]:
    name = "redis"
    if facts.get("append_only") is False:
        hint = "Set appendonly to yes: after a crash it has lost no more than a second."
        yield Finding(
            name=name, level=Level.WARNING, detail="it does not append to a file: a crash loses jobs", hint=hint
        )
    limit = facts.get("maxmemory") or 0
    if limit and facts["used_memory"] > _FULL * limit:
        yield Finding(name=name, level=Level.WARNING, detail="its memory is nearly full", hint="Raise maxmemory.")
    if "clock_offset" in facts:
        yield _clock("redis", facts["clock_offset"])


def _postgres(facts: Mapping[str, Any]) -> Iterator[Finding]:
    name = "home database"
    if int(facts["version"].partition(".")[0]) < _OLDEST_POSTGRES:
        hint = f"Use PostgreSQL {_OLDEST_POSTGRES} or later."
        yield Finding(name=name, level=Level.WARNING, detail=f"PostgreSQL {facts['version']} is old", hint=hint)
    if facts["is_standby"]:
        hint = "Use the address of the primary."
        yield Finding(name=name, level=Level.ERROR, detail="it is a standby: nothing can be written", hint=hint)
    if facts["grants"]:
        hint = f"As its owner: {' '.join(facts['grants'])}"
        yield Finding(name=name, level=Level.ERROR, detail="the role lacks rights to create tables", hint=hint)
    yield _clock("PostgreSQL", facts["clock_offset"])


def _workers(report: HealthReport) -> Iterator[Finding]:
    for worker in report.workers:
        if worker.version not in {"", __version__}:
            detail = f"it runs version {worker.version}, this is {__version__}"
            hint = "Install the same version everywhere, and restart the workers."
            yield Finding(name=f"worker {worker.name}", level=Level.WARNING, detail=detail, hint=hint)
        else:
            detail = f"version {worker.version or 'unknown'}, {worker.running} of {worker.slots} jobs"
            yield Finding(name=f"worker {worker.name}", level=Level.OK, detail=detail)
        if worker.clock_offset is not None:  # to Redis's clock
            yield _clock(f"worker {worker.name}", worker.clock_offset)


def _clock(whose: str, offset: float) -> Finding:
    detail = f"{abs(offset):.1f} s {'ahead' if offset > 0 else 'behind'}"
    if abs(offset) <= _CLOCK_SECONDS:
        return Finding(name=f"clock of {whose}", level=Level.OK, detail=detail)
    return Finding(name=f"clock of {whose}", level=Level.WARNING, detail=detail, hint="Let NTP set the clocks.")


def _beat(settings: Settings) -> Finding:
    with queue.connect(settings.fbs_redis_url) as client:
        name = client.get(BEAT)
    if name:
        return Finding(name="beat", level=Level.OK, detail=f"{name} runs")
    hint = "Start it: fbs beat (or everything: fbs up)"
    return Finding(name="beat", level=Level.WARNING, detail="none runs: schedules wait", hint=hint)


def _disk(home: Path) -> Finding:
    folder = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    if free < _FREE_BYTES:
        return Finding(name="disk", level=Level.WARNING, detail=detail, hint="Make room, or move FBS_HOME.")
    return Finding(name="disk", level=Level.OK, detail=detail)
