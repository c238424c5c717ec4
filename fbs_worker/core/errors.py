"""Every error that a user of fbs-worker can meet, as one tree.

    FBSError
    ├── UsageError                 something the caller gave is not valid            exit 2
    │   ├── SolutionNotFound       no solution has that name
    │   ├── SettingsError          … in the environment or the settings
    │   └── SecretError            … a password that may not or cannot be used
    ├── UnreachableError           a server that does not answer; a retry can help   exit 3
    │   ├── OdooUnreachable
    │   │   ├── OdooTimeout
    │   │   └── OdooCircuitOpen        too many calls failed: none is made for a while
    │   ├── DatabaseUnreachable
    │   └── QueueUnreachable
    ├── OdooError                  Odoo answered, but not with what was asked for    exit 1
    │   ├── OdooLoginRefused
    │   ├── OdooDatabaseMissing
    │   ├── OdooAccessDenied
    │   ├── OdooModelMissing
    │   ├── OdooCallFailed
    │   ├── OdooServerError        5xx from the server or a proxy; a retry can help
    │   └── OdooBadAnswer          HTML of a proxy, not JSON
    │       └── OdooAnswerCutShort   a retry can help
    ├── RecordingError             a recording that is missing, damaged or not a recording
    ├── DatabaseError              PostgreSQL answered with an error                 exit 1
    │   ├── DatabaseBusy           lock time-out or deadlock; a retry can help
    │   ├── DatabaseLoginRefused
    │   ├── DatabaseMissing
    │   └── DatabaseRightsMissing
    ├── RefusedError               asked for, possible, but not safe                 exit 4
    │   ├── ForeignTableError      a table of that name that FBS did not make
    │   ├── SolutionConflict       two solutions would share a table or a catalogue
    │   └── TablesNotEmpty           tables that hold rows would be dropped
    └── JobError                                                                     exit 1
        ├── JobNotFound
        ├── JobFailed
        ├── JobCancelled
        └── InternalError          a mistake of fbs-worker itself

Each error carries what is wrong (its message, one line), what to do (`hint`, one line), a stable `code` for programs
and whether a retry can help (`retryable`): only that decides a retry. None of them ever holds a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_REFUSED: Final = 4


class FBSError(Exception):
    """Root of the tree.

    Args:
        message: what is wrong, in one line, without a secret.
        hint: what to do about it, in one line.
        context: facts about the failure, JSON-ready, without a secret; they travel with a job's record.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        self.context = context

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.context))

    def to_dict(self) -> dict[str, Any]:
        """The error as it is kept in a job's record and printed as JSON."""
        told: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
        if self.context:
            told["context"] = self.context
        return told


def _rebuild(kind: type[FBSError], message: str, hint: str, context: dict[str, Any]) -> FBSError:
    return kind(message, hint=hint, **context)


class UsageError(FBSError):
    """Something the caller gave is not valid."""

    code = "usage"
    exit_code = EXIT_USAGE


class SolutionNotFound(UsageError):
    """No solution has that name."""

    code = "solution_not_found"


class SettingsError(UsageError):
    """A setting is missing or not valid."""

    code = "settings"


class SecretError(UsageError):
    """A password that may not be used as it was given, or that cannot be opened."""

    code = "secret"


class UnreachableError(FBSError):
    """A server that does not answer."""

    code = "unreachable"
    retryable = True
    exit_code = EXIT_UNREACHABLE


class OdooUnreachable(UnreachableError):
    """No connection to the Odoo server."""

    code = "odoo_unreachable"


class OdooTimeout(OdooUnreachable):
    """The Odoo server took longer to answer than the time-out."""

    code = "odoo_timeout"


class OdooCircuitOpen(OdooUnreachable):
    """The Odoo server failed repeatedly: the circuit is open and no call is made.

    `context["retry_after"]` holds the seconds until the next call may be made.
    """

    code = "odoo_resting"

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be made again."""
        return float(self.context["retry_after"])


class DatabaseUnreachable(UnreachableError):
    """No connection to PostgreSQL, or the connection was lost."""

    code = "database_unreachable"


class QueueUnreachable(UnreachableError):
    """No connection to Redis."""

    code = "queue_unreachable"


class OdooError(FBSError):
    """Odoo answered, but not with what was asked for."""

    code = "odoo"


class OdooLoginRefused(OdooError):
    """Wrong user, password or API key, an expired key, or a user who needs a second factor."""

    code = "odoo_login_refused"


class OdooDatabaseMissing(OdooError):
    """The server has no database of that name."""

    code = "odoo_database_missing"


class OdooAccessDenied(OdooError):
    """The user may not read what was asked for.

    `context["groups"]` names the groups that would help, as far as Odoo said.
    """

    code = "odoo_access_denied"


class OdooModelMissing(OdooError):
    """The server has no such model or method."""

    code = "odoo_model_missing"


class OdooCallFailed(OdooError):
    """The server raised another error for a call."""

    code = "odoo_call_failed"


class OdooServerError(OdooError):
    """A status of 500 or above, from the server or from a proxy before it."""

    code = "odoo_server_error"
    retryable = True


class OdooBadAnswer(OdooError):
    """What came back is not what Odoo sends: HTML of a proxy, or not JSON."""

    code = "odoo_bad_answer"


class OdooAnswerCutShort(OdooBadAnswer):
    """The connection ended before the answer did."""

    code = "odoo_answer_cut_short"
    retryable = True


class RecordingError(FBSError):
    """A recording that is missing, damaged, not a recording, or lacks what is asked of it."""

    code = "recording"
    exit_code = EXIT_USAGE


class DatabaseError(FBSError):
    """PostgreSQL answered with an error."""

    code = "database"


class DatabaseBusy(DatabaseError):
    """A lock time-out, a deadlock or a serialisation failure."""

    code = "database_busy"
    retryable = True


class DatabaseLoginRefused(DatabaseError):
    """PostgreSQL refused the user or the password."""

    code = "database_login_refused"


class DatabaseMissing(DatabaseError):
    """The PostgreSQL server has no database of that name."""

    code = "database_missing"


class DatabaseRightsMissing(DatabaseError):
    """The database user may not do what is needed."""

    code = "database_rights_missing"


class RefusedError(FBSError):
    """What was asked for is possible, but not safe."""

    code = "refused"
    exit_code = EXIT_REFUSED


class ForeignTableError(RefusedError):
    """A table of that name is there already, and FBS did not make it."""

    code = "foreign_table"


class SolutionConflict(RefusedError):
    """Two solutions would share a table, or read different Odoos into the same catalogue."""

    code = "solution_conflict"


class TablesNotEmpty(RefusedError):
    """Tables that hold rows would be dropped."""

    code = "rows_in_the_way"


class JobError(FBSError):
    """Something about a job."""

    code = "job"


class JobNotFound(JobError):
    """No job has that id."""

    code = "job_not_found"
    exit_code = EXIT_USAGE


class JobFailed(JobError):
    """A job that was waited for has failed; `context["error"]` holds its error."""

    code = "job_failed"


class JobCancelled(JobError):
    """The job was cancelled on request."""

    code = "job_cancelled"


class InternalError(JobError):
    """A mistake in this program, or in a library that it uses."""

    code = "internal"
