"""Options shared by several commands, and those of jobs; the help shows the environment variable of each."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from fbs_worker.cli.output import OutputFormat, PlanFormat
from fbs_worker.cli.run import Runner
from fbs_worker.core.errors import UsageError

if TYPE_CHECKING:
    from fbs_worker.core.fields import Parameter, ValidatedConfig
    from fbs_worker.core.settings import Settings

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_SECRETS: Final = ("database_password", "password", "api_key", "headers")

Named = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The solution; or --solution-name.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--solution-name", envvar="FBS_SOLUTION_NAME", help="The solution; see `fbs list`.")
]
Inline = Annotated[
    bool,
    typer.Option("--inline", envvar="FBS_INLINE", help="Run in this process, without queue and worker."),
]
NoWait = Annotated[
    bool,
    typer.Option("--no-wait", envvar="FBS_NO_WAIT", help="Enqueue the job, print its id and exit."),
]
Format = Annotated[
    OutputFormat,
    typer.Option(
        "--output-format", envvar="FBS_OUTPUT_FORMAT", help="The format of stdout; with json it is pure JSON."
    ),
]


def current_settings() -> Settings:
    """The settings, with unset ones taken from a running local stack (`fbs up`).

    Raises:
        SettingsError: a setting is invalid.
    """
    from fbs_worker.client.service import process_settings

    return process_settings()


def one_solution(argument: str | None, option: str | None) -> str:
    """The solution named by the argument or by --solution-name.

    Raises:
        UsageError: none is named, or two different ones.
    """
    if argument and option and argument != option:
        raise UsageError(
            f"Two solutions are named: {argument!r} and {option!r}.",
            hint="Name one, as the argument or by --solution-name (or FBS_SOLUTION_NAME).",
        )
    name = argument or option
    if not name:
        raise UsageError("No solution is named.", hint="Name one; `fbs list` shows them.")
    return name


def request_values(request: type[ValidatedConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a request from the values of its options.

    Args:
        request: its class.
        options: the values; a secret `-` is prompted for, or read from stdin.

    Raises:
        UsageError: a secret is `-` and stdin is empty, or it is plain text where that is not accepted.
    """
    from fbs_worker.core.fields import collected

    read = {name: read_secret(name, options.get(name)) for name in _SECRETS}
    return collected(request, {**options, **{name: value for name, value in read.items() if value is not None}})


def add_job_command(app: typer.Typer, name: str, function: Callable[..., None], *, by_name: bool = False) -> None:
    """Add a command that runs a job; its options are made from the fields of the request.

    Args:
        app: the application.
        name: the command, and the task without `fbs.`.
        function: runs it, with the runner, the input of the request, and options of its own.
        by_name: an argument may name the solution as well.
    """

    class JobCommand(_JobCommand):
        def make(self) -> Any:
            return _job_command(f"fbs.{name}", function, by_name=by_name)

    app.command(name, cls=JobCommand, help=inspect.getdoc(function))(lambda: None)


def add_odoo_command(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Add a command about connections to Odoo; its options are made from the fields of the request.

    Args:
        app: the application.
        name: the command, one of `ODOO_REQUESTS`.
        function: runs it, with the runner, the input of the request, and options of its own.
    """

    class OdooCommand(_JobCommand):
        def make(self) -> Any:
            return _odoo_command(name, function)

    app.command(name, cls=OdooCommand, help=inspect.getdoc(function))(lambda: None)


class _JobCommand(TyperCommand):
    """A command that is made when it is needed: its options need pydantic, whose import takes time."""

    _params: list[Any] | None = None

    def make(self) -> Any:
        """Make the command."""
        raise NotImplementedError

    @property
    def params(self) -> list[Any]:
        """The options."""
        if self._params is None:
            made = self.make()
            self._params, self.callback = list(made.params), made.callback
        return self._params

    @params.setter
    def params(self, params: list[Any]) -> None:
        """Ignore those of the function that stands in for the command."""


def _job_command(task: str, function: Callable[..., None], *, by_name: bool) -> Any:
    from fbs_worker.core.fields import parameters
    from fbs_worker.solutions.requests import REQUESTS

    request = next(each for each in REQUESTS if each.task == task)

    def run(*, inline: bool, no_wait: bool, output_format: OutputFormat | PlanFormat, **options: Any) -> None:
        shown = OutputFormat.JSON if output_format == OutputFormat.JSON else OutputFormat.TEXT
        runner = Runner(settings=current_settings(), output_format=shown, inline=inline, no_wait=no_wait)
        if by_name:
            options["solution_name"] = one_solution(options.pop("name"), options["solution_name"])
        given = {**options, "output_format": output_format}
        function(runner, request_values(request, options), **{name: given[name] for name in own})

    default_format = inspect.Parameter("output_format", _KEYWORD, default=OutputFormat.TEXT, annotation=Format)
    own = dict(list(inspect.signature(function, eval_str=True).parameters.items())[2:])
    declared = [
        *([inspect.Parameter("name", _KEYWORD, default=None, annotation=Named)] if by_name else []),
        *(_typer_parameter(each, by_name=by_name) for each in parameters(request)),
        *own.values(),
        inspect.Parameter("inline", _KEYWORD, default=False, annotation=Inline),
        inspect.Parameter("no_wait", _KEYWORD, default=False, annotation=NoWait),
        *([] if "output_format" in own else [default_format]),
    ]
    return _made(run, declared)


def _odoo_command(name: str, function: Callable[..., None]) -> Any:
    from fbs_worker.core.fields import parameters
    from fbs_worker.solutions.odoo_requests import ODOO_REQUESTS

    request = ODOO_REQUESTS[name]

    def run(*, output_format: OutputFormat, **options: Any) -> None:
        runner = Runner(settings=current_settings(), output_format=output_format, inline=True)
        function(runner, request_values(request, options), **{each: options[each] for each in own})

    own = dict(list(inspect.signature(function, eval_str=True).parameters.items())[2:])
    declared = [
        *(_typer_parameter(each, by_name=True) for each in parameters(request)),
        *own.values(),
        inspect.Parameter("output_format", _KEYWORD, default=OutputFormat.TEXT, annotation=Format),
    ]
    return _made(run, declared)


def _made(run: Callable[..., None], declared: list[inspect.Parameter]) -> Any:
    """The command that a function with these parameters is."""
    run.__annotations__ = {each.name: each.annotation for each in declared}
    run.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(run)
    return typer.main.get_command(app)


def _typer_parameter(each: Parameter, *, by_name: bool) -> inspect.Parameter:
    default = None if each.is_list else each.default
    if each.name == "name":
        argument = typer.Argument(metavar="NAME", help=each.help, show_default=bool(default))
        return inspect.Parameter(each.name, _KEYWORD, default=default or ..., annotation=Annotated[str, argument])
    by_argument = by_name and each.name == "solution_name"
    required = each.field.is_required() and len(each.path) == 1 and not by_argument
    kind: Any = str if each.option.metavar and each.kind is not int else each.kind
    kind = list[kind] if each.is_list else kind
    option = typer.Option(
        f"{each.flag}/--no-{each.flag[2:]}" if default is True else each.flag,
        envvar=each.envvar,
        metavar=each.option.metavar or None,
        help=each.help,
    )
    return inspect.Parameter(
        each.name,
        _KEYWORD,
        default=inspect.Parameter.empty if required else default,
        annotation=Annotated[kind if required or default is not None else kind | None, option],
    )


def read_secret(name: str, option: str | None) -> str | None:
    """The secret of an option; `-` prompts for it without echo, or reads it from stdin.

    Those of databases alone are accepted as plain text: other users can read the command line.

    Args:
        name: the option's name, e.g. `odoo_password`.
        option: its value.

    Raises:
        UsageError: it is plain text, or stdin is empty.
    """
    flag, words = f"--{name.replace('_', '-')}", name.replace("_", " ")
    if option == "-":
        if sys.stdin.isatty():
            return str(typer.prompt(words.capitalize().replace("Api", "API"), hide_input=True, err=True))
        secret = sys.stdin.read().strip() if name == "headers" else sys.stdin.readline().rstrip("\r\n")
        if not secret:
            hint = f"Pipe it in: printf %s … | <command> {flag} -"
            raise UsageError(f"There is no {'password' if 'password' in name else words} to read on stdin.", hint=hint)
        return secret
    if option and name != "database_password" and not option.startswith(("env:", "file:")):
        raise UsageError(
            f"A plain text is not accepted for {flag}: other users can read the command line.",
            hint=f"Pass `{flag} -` and type it or pipe it in, or a reference: env:NAME or file:PATH.",
        )
    return option
