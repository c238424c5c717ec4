"""`fbs init`: ask for Odoo and PostgreSQL, test both, and keep the answers in `fbs.env`."""

from __future__ import annotations

import os
import re
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fbs_worker.cli.options import Format, read_secret
from fbs_worker.cli.output import OutputFormat, note, print_error, print_result
from fbs_worker.core.errors import (
    DatabaseLoginRefused,
    DatabaseMissing,
    DatabaseRightsMissing,
    FBSError,
    RefusedError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.settings_file import FILE_NAME, PLACE, find_settings_file, quoted

if TYPE_CHECKING:
    from fbs_worker.core.database_config import DatabaseConfig
    from fbs_worker.core.settings import Settings

_API_KEY: Final = re.compile(r"[0-9a-f]{40}")
_HEADING: Final = (
    "# Settings of fbs-worker, written by `fbs init`; the environment counts more. This file has passwords."
)
_NEXT: Final = ("fbs up", "fbs setup --solution-name demo --domain rental")
_REFERENCE: Final = "`-` prompts or reads stdin; env:NAME and file:PATH are read."
_ODOO_SECONDS: Final = 30.0


def init(
    context: typer.Context,
    *,
    odoo_url: Annotated[str, typer.Option(envvar="ODOO_URL", help="Address of Odoo.")] = "",
    odoo_db: Annotated[str, typer.Option(envvar="ODOO_DB", help="Database of Odoo.")] = "",
    odoo_user: Annotated[str, typer.Option(envvar="ODOO_USER", help="User of Odoo (login).")] = "",
    odoo_password: Annotated[
        str, typer.Option(envvar="ODOO_PASSWORD", help=f"The user's password or API key: {_REFERENCE}")
    ] = "",
    database_url: Annotated[
        str,
        typer.Option(
            envvar="FBS_DATABASE_URL", help="PostgreSQL: postgresql://user@host/name; none: `fbs up` brings one."
        ),
    ] = "",
    database_password: Annotated[
        str,
        typer.Option(
            envvar="FBS_INIT_DATABASE_PASSWORD", help=f"The role's password, unless the URL has it: {_REFERENCE}"
        ),
    ] = "",
    admin_user: Annotated[
        str, typer.Option(envvar="FBS_INIT_ADMIN_USER", help="A role there that may create role and database.")
    ] = "",
    admin_password: Annotated[
        str, typer.Option(envvar="FBS_INIT_ADMIN_PASSWORD", help=f"Its password, which is not kept: {_REFERENCE}")
    ] = "",
    redis_url: Annotated[
        str, typer.Option(envvar="FBS_REDIS_URL", help="Redis: redis://host:port/db; none: `fbs up` brings one.")
    ] = "",
    here: Annotated[
        bool, typer.Option("--here", envvar="FBS_INIT_HERE", help="Write it to this folder, not to FBS_HOME.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="FBS_YES", help="Ask nothing: options and what is set already count.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", envvar="FBS_FORCE", help="Change a file that exists; its values are the defaults."),
    ] = False,
    test: Annotated[
        bool, typer.Option("--test/--no-test", envvar="FBS_INIT_TEST", help="Test Odoo and PostgreSQL before.")
    ] = True,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Ask for Odoo and PostgreSQL, and test both.

    The answers are kept in the file fbs.env, which all commands read. Role and database are created where they are
    missing and you may. Nothing is written before the last answer.
    """
    from fbs_worker.core.settings import get_settings

    target = _target(here=here)
    if target.exists() and not force:
        raise RefusedError(f"{target} exists.", hint="`fbs init --force` changes it; its values are the defaults.")
    if not (yes or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask at.", hint="Give the options, and --yes.")
    settings = get_settings()
    given = {
        "odoo_url": odoo_url or settings.odoo_url,
        "odoo_db": odoo_db or settings.odoo_db,
        "odoo_user": odoo_user or settings.odoo_user,
        "odoo_password": _secret(context, "odoo_password", odoo_password) or settings.odoo_password.get_secret_value(),
        "odoo_api_key": settings.odoo_api_key.get_secret_value(),
    }
    password = _secret(context, "database_password", database_password)
    admin = (admin_user, _secret(context, "admin_password", admin_password))
    with ExitStack() as undo:  # drops again what was created, if anything fails
        questions = _Questions(settings, undo, ask=not yes, test=test)
        odoo = questions.odoo(given)
        database = questions.database(database_url or settings.fbs_database_url, password, admin)
        values = {**odoo, **_of_database(database), "fbs_redis_url": redis_url or settings.fbs_redis_url}
        _write(target, {name.upper(): value for name, value in {**values, "fbs_secret_keys": _keys(settings)}.items()})
    result = {
        "file": str(target),
        "odoo": {name.removeprefix("odoo_"): odoo[name] for name in ("odoo_url", "odoo_db", "odoo_user")},
        "database": database.redacted() if database else None,
        "created": questions.created,
        "next": list(_NEXT),
    }
    print_result(result, lambda: [f"{target} is written.", f"Next: {_NEXT[0]}", f"Then: {_NEXT[1]}"], output_format)


class _Questions:
    """Asks until what is answered works."""

    def __init__(self, settings: Settings, undo: ExitStack, *, ask: bool, test: bool) -> None:
        self._settings, self._undo, self._ask, self._test = settings, undo, ask, test
        self.created: list[str] = []

    def odoo(self, values: dict[str, str]) -> dict[str, str]:
        """The settings of the Odoo; without an address, none."""
        while True:
            if self._ask:
                values = _asked_odoo(values, self._settings if self._test else None)
            if _API_KEY.fullmatch(values["odoo_password"]):
                values = {**values, "odoo_password": "", "odoo_api_key": values["odoo_password"]}
            try:
                if self._test and values["odoo_url"]:
                    note(_test_odoo(self._settings, values))
            except FBSError as exc:
                if self._again(exc):
                    continue
            return values

    def database(self, url: str, password: str, admin: tuple[str, str]) -> DatabaseConfig | None:
        """The home database; None for that of `fbs up`."""
        config = None
        while True:
            try:
                if self._ask:
                    url = _asked_url(url)
                if not url:
                    return None
                config = _config(url, password)
                if self._ask and not config.password.get_secret_value() and config.user and not config.uses_socket:
                    config = _config(url, _hidden(f"PostgreSQL: password of {config.user}"))
                return self._reached(config, admin) if self._test else config
            except FBSError as exc:
                if self._again(exc) or config is None:
                    continue
                return config

    def _again(self, error: FBSError) -> bool:
        """Whether to ask again after an error; raises it where nothing may be asked."""
        if not self._ask:
            raise error
        print_error(error)
        return typer.confirm("Answer again (else the answers are kept as they are)?", default=True, err=True)

    def _reached(self, config: DatabaseConfig, admin: tuple[str, str]) -> DatabaseConfig:
        """The database, once it is found or created."""
        from fbs_worker.ops.databases import created, examine

        as_admin = _config_of_role(config, *admin) if admin[0] else None
        try:
            facts = examine(config)
        except (DatabaseMissing, DatabaseLoginRefused) as exc:
            missing = isinstance(exc, DatabaseMissing)
            if missing and self._ask and not typer.confirm(f"{exc.message} Create it?", default=True, err=True):
                raise
            if as_admin is None and not missing:
                as_admin = self._asked_admin(config, exc)
            if as_admin is not None and not config.password.get_secret_value():
                config = _config_of_role(config, config.user, secrets.token_urlsafe(18))
            try:
                self.created = self._undo.enter_context(created(config, as_admin))
            except DatabaseRightsMissing as denied:
                as_admin = self._asked_admin(config, denied)
                self.created = self._undo.enter_context(created(config, as_admin))
            facts = examine(config)
        if facts.grants:
            raise DatabaseRightsMissing(
                f"The role may not create tables in {config.address()}.", hint=f"As its owner: {' '.join(facts.grants)}"
            ) from None
        note(f"PostgreSQL {facts.version} at {config.address()} answers{_created(self.created)}.")
        return config

    def _asked_admin(self, config: DatabaseConfig, error: FBSError) -> DatabaseConfig:
        """Another role for creating role and database; raises the error where there is none."""
        if not self._ask:
            raise error
        note(error.message)
        user = _asked(f"PostgreSQL: a role that may create {config.user or 'the role'} and {config.name} (empty: none)")
        if not user:
            raise error
        return _config_of_role(config, user, _hidden(f"PostgreSQL: password of {user}"))


def _target(*, here: bool) -> Path:
    """The file to write: that of FBS_ENV_FILE, the one that is read now, or the one in FBS_HOME."""
    from fbs_worker.core.settings import get_settings

    if here:
        return Path.cwd() / FILE_NAME
    if named := os.environ.get(PLACE):
        return Path(named).expanduser().absolute()
    found = find_settings_file()
    return found.path if found else get_settings().home() / FILE_NAME


def _asked_odoo(values: dict[str, str], settings: Settings | None) -> dict[str, str]:
    url = _asked("Odoo: address, e.g. https://odoo.example.com", values["odoo_url"])
    if not url or url.startswith("recording:"):
        return {**values, "odoo_url": url}
    if url != values["odoo_url"]:  # a password is for one server
        values = {**values, "odoo_password": "", "odoo_api_key": ""}
    values = {**values, "odoo_url": url}
    has_secret = bool(values["odoo_password"] or values["odoo_api_key"])
    answers = {
        "odoo_db": _asked(
            "Odoo: database", values["odoo_db"] or (_only_database(settings, values) if settings else "")
        ),
        "odoo_user": _asked("Odoo: user (login)", values["odoo_user"]),
    }
    if secret := _hidden("Odoo: password or API key", is_set=has_secret):
        answers |= {"odoo_password": secret, "odoo_api_key": ""}
    return {**values, **answers}


def _only_database(settings: Settings, values: dict[str, str]) -> str:
    """The database of an Odoo, if the server says that there is one."""
    try:
        _test_odoo(settings, {**values, "odoo_db": ""})
    except FBSError as exc:
        names = exc.context.get("databases", [])
        if len(names) > 1:
            note(f"The databases there: {', '.join(names)}.")
        return str(names[0]) if len(names) == 1 else ""
    return ""


def _asked_url(url: str) -> str:
    shown = re.sub(r":[^:@/]*@", "@", url) or "-"
    answer = _asked("PostgreSQL, e.g. postgresql://me@db.example.com/fbs (-: the one of `fbs up`)", shown)
    return url if answer == shown else answer.removeprefix("-") if answer == "-" else answer


def _asked(question: str, default: str = "") -> str:
    return str(typer.prompt(question, default=default, show_default=bool(default), err=True)).strip()


def _hidden(question: str, *, is_set: bool = False) -> str:
    shown = f"{question} (empty: unchanged)" if is_set else question
    return str(typer.prompt(shown, default="", show_default=False, hide_input=True, err=True))


def _secret(context: typer.Context, name: str, option: str) -> str:
    """The secret of an option, or of its variable."""
    from fbs_worker.core.vault import ENV, FILE, Vault

    source = context.get_parameter_source(name)
    if source is not None and source.name == "COMMANDLINE":
        option = read_secret(name, option) or ""
    return Vault().resolve(option) if option.startswith((ENV, FILE)) else option


def _config(url: str, password: str) -> DatabaseConfig:
    from fbs_worker.core.database_config import DatabaseConfig

    config = DatabaseConfig.from_url(url)
    return config if config.password.get_secret_value() else _config_of_role(config, config.user, password)


def _config_of_role(config: DatabaseConfig, user: str, password: str) -> DatabaseConfig:
    from pydantic import SecretStr

    return config.model_copy(update={"user": user, "password": SecretStr(password)})


def _of_database(config: DatabaseConfig | None) -> dict[str, str]:
    """The settings of the home database, which is the default database of solutions, too."""
    from fbs_worker.ops.local.stack import HOME_DATABASE
    from fbs_worker.ops.local.state import database_url

    if config is None:
        return {"fbs_default_database_name": HOME_DATABASE}
    return {
        "fbs_database_url": database_url(config),
        "fbs_default_database_name": config.name,
        "fbs_default_database_host": config.host,
        "fbs_default_database_port": str(config.port),
        "fbs_default_database_user": config.user,
        "fbs_default_database_password": config.password.get_secret_value(),
    }


def _test_odoo(settings: Settings, values: dict[str, str]) -> str:
    """Log in to the Odoo; what was found."""
    from fbs_worker.client.in_process import run_in_process
    from fbs_worker.core.settings import DEFAULT_CONNECTION

    update = {"odoo_timeout": min(settings.odoo_timeout, _ODOO_SECONDS), "fbs_redis_url": ""}
    chosen = type(settings).model_validate({**settings.model_dump(), **update, **values})
    found = run_in_process("fbs.test_odoo", {"name": DEFAULT_CONNECTION}, settings=chosen)
    lacking = [each["name"] for each in found["sections"] if each["status"] != "complete"]
    gap = f" Its user may not read all of {', '.join(lacking)}: see `fbs odoo test default`." if lacking else ""
    return f"Odoo {found['source']['series']} at {found['source']['url']} answers.{gap}"


def _keys(settings: Settings) -> str:
    """The keys of now, those of an earlier `fbs up`, or a new one."""
    from fbs_worker.core.vault import new_key

    last = settings.home() / "secret.key"
    return settings.fbs_secret_keys.get_secret_value() or (last.read_text().strip() if last.exists() else new_key())


def _write(target: Path, values: dict[str, str]) -> None:
    """Write the file; other lines of the one before stay."""
    from fbs_worker.ops.local.processes import signals_deferred
    from fbs_worker.ops.local.state import write_private

    ours = re.compile(rf"\s*(export\s+)?({'|'.join(values)})(_FILE)?\s*=.*")
    before = target.read_text().splitlines() if target.exists() else []
    kept = [line for line in before if line != _HEADING and not ours.fullmatch(line)]
    lines = [_HEADING, *(f"{name}={quoted(value)}" for name, value in values.items() if value), *kept]
    try:
        with signals_deferred():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(target, "\n".join(lines) + "\n")
    except OSError as exc:
        raise SettingsError(
            f"{target} cannot be written: {exc.strerror}.", hint="Choose another folder: --here."
        ) from None


def _created(things: list[str]) -> str:
    return f"; created: {', '.join(things)}" if things else ""
