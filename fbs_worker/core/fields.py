"""Fields that are declared once: validation errors for users, and what the interfaces make of a field."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from fbs_worker.core.errors import UsageError

_NOT: Final = {
    "bool_type": "a boolean",
    "string_type": "a string",
    "tuple_type": "a list of strings",
    "model_type": "a dictionary",
}
_HINTS: Final = {"bool_type": "Give true or false.", "tuple_type": "Give it as a list."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a field is shown by the command line, Django and the HTTP API, where its name does not say it.

    Attributes:
        name: its name there, e.g. `plan` for `--plan`.
        envvar: the environment variable of the command line's option.
        metavar: what the help shows for the value.
        advice: a further sentence in the help.
        setting: the setting that is its default.
        limit: the most characters or items that the HTTP API accepts.
        internal: only messages have the field.
    """

    name: str = ""
    envvar: str = ""
    metavar: str = ""
    advice: str = ""
    setting: str = ""
    limit: int | None = None
    internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A field as an interface shows it; a field of `database_config` by itself, as `database_name`.

    Attributes:
        path: the field's name, or those of the two fields.
        name: its name in the interfaces.
        option: how it is shown.
        field: its declaration.
    """

    path: tuple[str, ...]
    name: str
    option: Option
    field: FieldInfo

    @property
    def flag(self) -> str:
        """Its option of a command."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def envvar(self) -> str:
        """The environment variable of its option."""
        return self.option.envvar or f"FBS_{self.name.upper()}"

    @property
    def default(self) -> Any:
        """Its default; None if that is a setting or there is none."""
        return None if self.option.setting or self.field.is_required() else self.field.default

    @property
    def is_list(self) -> bool:
        """Whether it has several values."""
        return isinstance(self.default, tuple)

    @property
    def kind(self) -> type:
        """The type of its value, or of each of them: bool, int, an enumeration or str."""
        kind = get_args(self.field.annotation)[0] if self.is_list else self.field.annotation
        return kind if isinstance(kind, type) and issubclass(kind, int | Enum) else str

    @property
    def help(self) -> str:
        """Its description as a sentence, for the help of a command."""
        text = f"{self.field.description}; repeatable" if self.is_list else str(self.field.description)
        return f"{text[:1].upper()}{text[1:]}. {self.option.advice}".rstrip()


class ValidatedConfig(BaseModel):
    """Base of validated value objects: invalid input raises a UsageError that names the field, never the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    within: ClassVar[str] = ""
    """The field of requests that holds the object, for errors."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise _usage_error(type(self), exc) from None


def option_of(field: FieldInfo) -> Option:
    """How a field is shown."""
    return next((each for each in field.metadata if isinstance(each, Option)), Option())


def parameters(model: type[BaseModel]) -> Iterator[Parameter]:
    """Yield what the interfaces show of a model's fields.

    Args:
        model: the model; the fields of a model in it are shown by themselves.
    """
    for name, field in model.model_fields.items():
        option, inner = option_of(field), nested(field)
        if inner is not None:
            for each in parameters(inner):
                yield replace(each, path=(name, *each.path), name=_shown(name, each.name))
        elif not option.internal:
            yield Parameter(path=(name,), name=option.name or name, option=option, field=field)


def nested(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds; None for other fields."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def all_optional(model: type[BaseModel], name: str, *, keep: Collection[str], base: type[BaseModel], doc: str) -> Any:
    """Make a model with the same fields, of which only some have to be given; None stands for not given.

    Args:
        model: the model.
        name: the name of the new one.
        keep: fields that stay as they are.
        base: its base.
        doc: its docstring.
    """
    fields: dict[str, Any] = {}
    for field_name, field in model.model_fields.items():
        if field_name in keep:
            fields[field_name] = (Annotated[(field.annotation, *field.metadata)], Field(description=field.description))
            continue
        kind: Any = Annotated[(field.annotation, Field(max_length=option_of(field).limit), *field.metadata)]
        shown = replace(option_of(field), setting="", limit=None)
        made = Field(default=None, description=field.description, examples=field.examples)
        fields[field_name] = (Annotated[kind | None, shown], made)
    return create_model(name, __base__=base, __doc__=doc, __module__=model.__module__, **fields)


def collected(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's input from the values of options.

    Args:
        model: the model.
        options: the values by the names that the interfaces show; None and empty lists count as not given.
    """
    values: dict[str, Any] = {}
    for parameter in parameters(model):
        value = options.get(parameter.name)
        if value is None or (parameter.is_list and not value):
            continue
        *outer, name = parameter.path
        target = values
        for each in outer:
            target = target.setdefault(each, {})
        target[name] = value
    return values


def defaults(model: type[BaseModel], settings: object) -> dict[str, Any]:
    """Return the values of a model's fields whose defaults are settings.

    Args:
        model: the model.
        settings: the settings.
    """
    named = {name: option_of(field).setting for name, field in model.model_fields.items()}
    return {name: getattr(settings, setting) for name, setting in named.items() if setting}


def _shown(outer: str, name: str) -> str:
    return f"{outer.removesuffix('_config')}_{name}" if outer else name


def _usage_error(model: type[ValidatedConfig], exc: ValidationError) -> UsageError:
    first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
    kind, path = first["type"], tuple(part for part in first["loc"] if isinstance(part, str))
    label = ".".join(filter(None, (model.within, *path))) or "configuration"
    names = [_shown(model.within, each.name) for each in parameters(model) if each.path == path]
    where = f" (on the command line: --{names[0].replace('_', '-')})" if names else ""
    if kind == "string_type" and len(path) < len(first["loc"]):
        kind = "tuple_type"
    match kind:
        case "missing":
            return UsageError(f"{label} is missing.", hint=f"Pass {label}{where}.", field=label)
        case "extra_forbidden":
            known = ", ".join(name for name, each in model.model_fields.items() if not option_of(each).internal)
            return UsageError(f"{label} is not known.", hint=f"Known are: {known}.", field=label)
        case _ if kind in _NOT:
            hint = _HINTS.get(kind, f"Correct {label}{where}.")
            return UsageError(f"{label} is not {_NOT[kind]}.", hint=hint, field=label)
        case _:
            reason = first["msg"].removeprefix("Value error, ").rstrip(".")
            return UsageError(f"{label} is not valid: {reason}.", hint=f"Correct {label}{where}.", field=label)
