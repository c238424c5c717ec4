"""What is asked of a migration, checked: the same checks before it is enqueued, in the worker, and inline."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from fbs_worker.core.errors import UsageError
from fbs_worker.core.identifiers import ModelName
from fbs_worker.migration.model.plan import MUST_BE_ALLOWED, Hazard
from fbs_worker.solutions.requests import checked_solution_name, flag

_MODEL: Final[TypeAdapter[str]] = TypeAdapter(ModelName)

_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")
_RENAME: Final = re.compile(r"[^=]+\.[^=.]+=[^=]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateRequest:
    """What a migration is asked to do.

    Attributes:
        solution_name: which solution.
        plan_only: only tell what would be done.
        fingerprint: apply this plan and no other; None for whichever it is, unless it is an undo.
        allow: the hazards that are allowed.
        renames: columns that were renamed, each `table.old=new`.
        restore: what was changed by hand is to be as it was made, too.
        mirror: further Odoo models that get a business table.
        unmirror: mirrored models whose tables go.
        undo: revert the last migration instead.
    """

    solution_name: str
    plan_only: bool = False
    fingerprint: str | None = None
    allow: frozenset[Hazard] = frozenset()
    renames: tuple[str, ...] = ()
    restore: bool = False
    mirror: tuple[str, ...] = ()
    unmirror: tuple[str, ...] = ()
    undo: bool = False

    @classmethod
    def parse(
        cls,
        *,
        solution_name: str,
        plan_only: bool = False,
        fingerprint: str | None = None,
        allow: Collection[str] | None = None,
        renames: Sequence[str] | None = None,
        restore: bool = False,
        mirror: Sequence[str] | None = None,
        unmirror: Sequence[str] | None = None,
        undo: bool = False,
    ) -> Self:
        """Check what was given; the arguments are the attributes.

        Raises:
            UsageError: something is not valid, or does not go together.
        """
        request = cls(
            solution_name=checked_solution_name(solution_name),
            plan_only=flag("plan_only", plan_only),
            fingerprint=_fingerprint(fingerprint),
            allow=frozenset(map(_hazard, _texts("allow", allow))),
            renames=tuple(map(_rename, _texts("renames", renames))),
            restore=flag("restore", restore),
            mirror=tuple(sorted(map(_model, _texts("mirror", mirror)))),
            unmirror=tuple(sorted(map(_model, _texts("unmirror", unmirror)))),
            undo=flag("undo", undo),
        )
        if request.plan_only and request.fingerprint:
            raise UsageError("--plan and --apply exclude each other.", hint="Leave one of them out.")
        if request.undo and not request.plan_only and not request.fingerprint:
            raise UsageError(
                "An undo wants the fingerprint of its plan: sent twice, it would revert two migrations.",
                hint="Plan it first (--undo --plan), then give the fingerprint (--undo --apply …).",
            )
        if request.undo and (request.renames or request.restore or request.mirror or request.unmirror):
            raise UsageError(
                "An undo takes back what the last migration did, nothing else.",
                hint="Leave --rename, --restore, --mirror and --no-mirror out.",
            )
        both = sorted(set(request.mirror) & set(request.unmirror))
        if both:
            raise UsageError(
                f"{', '.join(both)} would be mirrored and not mirrored at once.", hint="Name it with one of the two."
            )
        return request

    def to_message(self) -> dict[str, Any]:
        """The task's keyword arguments, JSON-ready."""
        return {
            "solution_name": self.solution_name,
            "plan_only": self.plan_only,
            "fingerprint": self.fingerprint,
            "allow": sorted(map(str, self.allow)),
            "renames": list(self.renames),
            "restore": self.restore,
            "mirror": list(self.mirror),
            "unmirror": list(self.unmirror),
            "undo": self.undo,
        }


def _texts(name: str, given: object) -> tuple[str, ...]:
    """Each once, in their order; one by itself is a list, too."""
    if isinstance(given, str):
        given = (given,)
    if given is None:
        return ()
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in given):
        raise UsageError(f"{name} is not a list of texts.", hint=f"Give {name} as a list.")
    return tuple(dict.fromkeys(map(str, given)))


def _fingerprint(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not _FINGERPRINT.fullmatch(given):
        raise UsageError(
            "fingerprint is not one of a plan: it wants 16 hexadecimal digits.",
            hint="`fbs migrate --plan` shows it; give it after --apply.",
        )
    return given


def _hazard(given: str) -> Hazard:
    try:
        return Hazard(given.strip().upper())
    except ValueError:
        known = ", ".join(sorted(map(str, MUST_BE_ALLOWED)))
        raise UsageError("A hazard to allow is not known.", hint=f"These can be allowed: {known}.") from None


def _rename(given: str) -> str:
    if not _RENAME.fullmatch(given):
        raise UsageError("A rename is not table.old=new.", hint="For example: --rename lease.notes=remarks")
    return given


def _model(given: str) -> str:
    try:
        return _MODEL.validate_python(given)
    except ValidationError as exc:
        reason = exc.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"A model's name is not valid: {reason}.", hint="Name a model of Odoo.") from None
