"""The errors of fbs-worker, as one tree.

    FBSError
    ├── UsageError                 invalid input                                     exit 2
    │   ├── SolutionNotFound       no solution has that name
    │   ├── TableNotFound          no such table of a mirrored model
    │   ├── SettingsError          … in the environment or the settings
    │   │   └── OdooConnectionNotFound   no connection to Odoo has that name
    │   └── SecretError            … a password that cannot or must not be used
    ├── HostRefused                a host that callers may not name                  exit 1
    ├── UnreachableError           a server does not answer; retryable               exit 3
    │   ├── OdooUnreachable
    │   │   ├── OdooTimeout
    │   │   └── OdooCircuitOpen    too many calls failed: circuit breaker open
    │   ├── DatabaseUnreachable
    │   │   ├── DatabaseHostUnknown    not retryable
    │   │   └── DatabaseTLSFailed      not retryable
    │   └── QueueUnreachable
    ├── OdooError                  Odoo answered with an error                       exit 1
    │   ├── OdooLoginRefused
    │   ├── OdooDatabaseMissing
    │   ├── OdooAccessDenied
    │   ├── OdooModelMissing
    │   ├── OdooCallFailed
    │   ├── OdooServerError        5xx from the server or a proxy; retryable
    │   └── OdooBadAnswer          HTML of a proxy, not JSON
    │       └── OdooAnswerCutShort   retryable
    ├── RecordingError             a recording that is missing, damaged or not a recording
    ├── DatabaseError              PostgreSQL answered with an error                 exit 1
    │   ├── DatabaseBusy           lock time-out or deadlock; retryable
    │   ├── DatabaseLoginRefused
    │   ├── DatabaseMissing
    │   └── DatabaseRightsMissing
    ├── RefusedError               possible, but not safe                            exit 4
    │   ├── ForeignTableError      a table of that name that FBS did not create
    │   ├── SolutionConflict       two solutions would share a table or a catalogue
    │   ├── OdooConnectionConflict a connection to Odoo that exists, is used, or is of the environment
    │   └── TablesNotEmpty         tables that hold rows would be dropped
    ├── SyncPaused                 a copy of records that goes on by itself; retryable   exit 1
    └── JobError                                                                     exit 1
        ├── JobNotFound
        ├── JobFailed
        ├── JobCancelled
        └── InternalError          a bug in fbs-worker

Each error has a message (what is wrong, one line), a `hint` (what to do, one line), a stable `code` for programs and a
`retryable` flag, which alone decides whether a job is retried. No error holds a secret.
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
        context: facts about the failure, JSON-ready, without a secret; stored in the job's record.
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
        """Return the error as stored in a job's record and printed as JSON."""
        payload: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
        if self.context:
            payload["context"] = self.context
        return payload


def _rebuild(kind: type[FBSError], message: str, hint: str, context: dict[str, Any]) -> FBSError:
    return kind(message, hint=hint, **context)


class UsageError(FBSError):
    """The input is not valid."""

    code = "usage"
    exit_code = EXIT_USAGE


class SolutionNotFound(UsageError):
    """No solution has that name."""

    code = "solution_not_found"


class TableNotFound(UsageError):
    """The solution has no such table of a mirrored model."""

    code = "table_not_found"


class SettingsError(UsageError):
    """A setting is missing or not valid."""

    code = "settings"


class OdooConnectionNotFound(SettingsError):
    """No connection to Odoo has that name."""

    code = "odoo_connection_not_found"


class SecretError(UsageError):
    """A password that must not be used in this form, or that cannot be decrypted."""

    code = "secret"


class HostRefused(FBSError):
    """The host or its port is not on the allowlist."""

    code = "host_refused"


class UnreachableError(FBSError):
    """A server does not answer."""

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
    """The circuit breaker is open: too many consecutive calls to the Odoo server failed, and this one was not sent.

    `context["retry_after"]` is the remaining time in seconds.
    """

    code = "odoo_resting"

    @property
    def retry_after(self) -> float:
        """Seconds until the next call is allowed."""
        return float(self.context["retry_after"])


class SyncPaused(FBSError):
    """A copy of records stops for now and goes on by itself; `context["retry_after"]` is when, in seconds."""

    code = "sync_paused"
    retryable = True

    @property
    def retry_after(self) -> float:
        """Seconds until it goes on."""
        return float(self.context.get("retry_after", 1.0))


class DatabaseUnreachable(UnreachableError):
    """No connection to PostgreSQL, or the connection was lost."""

    code = "database_unreachable"


class DatabaseHostUnknown(DatabaseUnreachable):
    """The name of PostgreSQL's host does not exist."""

    code = "database_host_unknown"
    retryable = False


class DatabaseTLSFailed(DatabaseUnreachable):
    """PostgreSQL has no TLS, its certificate is not trusted, or a file for it cannot be used."""

    code = "database_tls_failed"
    retryable = False


class QueueUnreachable(UnreachableError):
    """No connection to Redis."""

    code = "queue_unreachable"


class OdooError(FBSError):
    """Odoo answered with an error."""

    code = "odoo"


class OdooLoginRefused(OdooError):
    """Wrong user, password or API key, an expired key, or a user who needs a second factor."""

    code = "odoo_login_refused"


class OdooDatabaseMissing(OdooError):
    """The server has no database of that name."""

    code = "odoo_database_missing"


class OdooAccessDenied(OdooError):
    """The user may not read the model.

    `context["groups"]` holds the groups with access, if Odoo's message names them.
    """

    code = "odoo_access_denied"


class OdooModelMissing(OdooError):
    """The server has no such model or method."""

    code = "odoo_model_missing"


class OdooCallFailed(OdooError):
    """The server raised another error for a call."""

    code = "odoo_call_failed"


class OdooServerError(OdooError):
    """HTTP status 500 or above, from the server or a reverse proxy."""

    code = "odoo_server_error"
    retryable = True


class OdooBadAnswer(OdooError):
    """The response is not one of Odoo: HTML of a proxy, or not JSON."""

    code = "odoo_bad_answer"


class OdooAnswerCutShort(OdooBadAnswer):
    """The connection ended before the response was complete."""

    code = "odoo_answer_cut_short"
    retryable = True


class RecordingError(FBSError):
    """A recording is missing, damaged, not a recording, or lacks the requested data."""

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
    """PostgreSQL rejected the user or the password."""

    code = "database_login_refused"


class DatabaseMissing(DatabaseError):
    """The PostgreSQL server has no database of that name."""

    code = "database_missing"


class DatabaseRightsMissing(DatabaseError):
    """The database user lacks a privilege."""

    code = "database_rights_missing"


class RefusedError(FBSError):
    """The operation is possible, but not safe."""

    code = "refused"
    exit_code = EXIT_REFUSED


class ForeignTableError(RefusedError):
    """A table of that name exists, and FBS did not create it."""

    code = "foreign_table"


class SolutionConflict(RefusedError):
    """Two solutions would share a table, or read different Odoo servers into the same catalogue."""

    code = "solution_conflict"


class OdooConnectionConflict(RefusedError):
    """A connection to Odoo exists already, is in use, or is one of the environment."""

    code = "odoo_connection_conflict"


class TablesNotEmpty(RefusedError):
    """Tables that hold rows would be dropped."""

    code = "rows_in_the_way"


class JobError(FBSError):
    """Base of the errors about jobs."""

    code = "job"


class JobNotFound(JobError):
    """No job has that id."""

    code = "job_not_found"
    exit_code = EXIT_USAGE


class JobFailed(JobError):
    """The awaited job failed; `context["error"]` holds its error."""

    code = "job_failed"


class JobCancelled(JobError):
    """The job was cancelled on request."""

    code = "job_cancelled"


class InternalError(JobError):
    """A bug in fbs-worker or in a library."""

    code = "internal"
