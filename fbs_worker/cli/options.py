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
    from fbs_worker.core.fields import Parameter
    from fbs_worker.core.settings import Settings
    from fbs_worker.solutions.requests import Request

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY

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


def request_values(request: type[Request], options: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a request from the values of its options.

    Args:
        request: its class.
        options: the values; a password `-` is prompted for, or read from stdin.

    Raises:
        UsageError: the password is `-` and stdin is empty.
    """
    from fbs_worker.core.fields import collected

    return collected(request, {**options, "database_password": _read_password(options.get("database_password"))})


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
    run.__annotations__ = {each.name: each.annotation for each in declared}
    run.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(run)
    return typer.main.get_command(app)


def _typer_parameter(each: Parameter, *, by_name: bool) -> inspect.Parameter:
    default = None if each.is_list else each.default
    by_argument = by_name and each.name == "solution_name"
    required = each.field.is_required() and len(each.path) == 1 and not by_argument
    kind: Any = str if each.option.metavar else each.kind
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


def _read_password(option: str | None) -> str | None:
    """The password; `-` prompts for it without echo, or reads it from stdin."""
    if option != "-":
        return option
    if sys.stdin.isatty():
        return str(typer.prompt("Database password", hide_input=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        hint = "Pipe it in: printf %s … | <command> --database-password -"
        raise UsageError("There is no password to read on stdin.", hint=hint)
    return password
