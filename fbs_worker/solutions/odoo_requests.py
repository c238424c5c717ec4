"""Requests about connections to Odoo that are kept in the home database. Each field is declared here once.

Command line, Django, HTTP API, pages and reference are made from the classes, as from those of `requests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from fbs_worker.core.errors import SecretError, SettingsError, UsageError
from fbs_worker.core.fields import Option, ValidatedConfig, all_optional
from fbs_worker.core.identifiers import Language, OdooName, OdooURL, OptionalIdentifier, OptionalLogin
from fbs_worker.core.odoo_address import extra_headers
from fbs_worker.core.settings import DEFAULT_CONNECTION, Protocol, as_text
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.solutions.requests import Request

_NAME: Final = "the connection's name; `default` is what solutions without another name read"
_SAFE: Final = "`-` prompts or reads stdin; `env:NAME` and `file:PATH` are resolved where jobs run."


def _secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value().startswith(ENCRYPTED):
        raise SecretError("An encrypted secret is not accepted here.", hint="Send the secret itself, or a reference.")
    return value


def _headers(value: SecretStr) -> SecretStr:
    text = _secret(value).get_secret_value()
    if not Vault.is_reference(text):
        try:
            extra_headers(text)
        except SettingsError as exc:
            raise UsageError(exc.message.replace("ODOO_HEADERS", "headers"), hint=exc.hint, field="headers") from None
    return value


Secret = Annotated[SecretStr, AfterValidator(_secret)]


class OdooAddRequest(ValidatedConfig):
    """Keep a connection to Odoo in the home database; workers use it from their next job on.

    Raises:
        UsageError: a field is missing, unknown or not valid, or two exclude each other.
        SecretError: a secret is encrypted already.
    """

    name: OdooName = Field(description=_NAME)
    url: Annotated[OdooURL, Option(envvar="FBS_ODOO_URL")] = Field(
        description="the address of Odoo: http://host:port or https://host", examples=["https://odoo.example.com"]
    )
    db: Annotated[OptionalIdentifier, Option(envvar="FBS_ODOO_DB")] = Field(
        default="", description="the name of the Odoo database", examples=["production"]
    )
    user: Annotated[OptionalLogin, Option(envvar="FBS_ODOO_USER", limit=255)] = Field(
        default="", description="the login; not needed with an API key on Odoo 19 and later", examples=["reader"]
    )
    password: Annotated[Secret, Option(envvar="FBS_ODOO_PASSWORD", limit=500, advice=_SAFE)] = Field(
        default=SecretStr(""), description="the user's password, which is encrypted before it is stored, or a reference"
    )
    api_key: Annotated[Secret, Option(envvar="FBS_ODOO_API_KEY", limit=500, advice=_SAFE)] = Field(
        default=SecretStr(""), description="an API key, in place of the password", examples=["env:SHOP_API_KEY"]
    )
    protocol: Annotated[Protocol, Option(envvar="FBS_ODOO_PROTOCOL", metavar="PROTOCOL")] = Field(
        default="auto",
        description="the protocol: auto, odoorpc or json2; auto chooses by Odoo's version and the credentials",
    )
    lang: Annotated[Language, Option(envvar="FBS_ODOO_LANG")] = Field(
        default="en_US", description="the language of the labels to read, which is installed in Odoo"
    )
    timeout: Annotated[int, Option(envvar="FBS_ODOO_TIMEOUT"), Field(ge=1, le=3_600)] = Field(
        default=120, description="time-out of one call to Odoo, in seconds"
    )
    headers: Annotated[
        SecretStr,
        BeforeValidator(as_text),
        AfterValidator(_headers),
        Option(envvar="FBS_ODOO_HEADERS", limit=8_000, advice=_SAFE),
    ] = Field(
        default=SecretStr(""),
        description="headers for a proxy before Odoo, kept as secrets: a JSON object, or `Name: value` per line",
    )

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        one_secret(self.password, self.api_key)
        return self


def one_secret(password: SecretStr | None, api_key: SecretStr | None) -> None:
    """Check that not both secrets are given.

    Raises:
        UsageError: both are.
    """
    if password and api_key and password.get_secret_value() and api_key.get_secret_value():
        raise UsageError("password and api_key exclude each other.", hint="Give one of them.", field="api_key")


class _Changes(ValidatedConfig):
    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        one_secret(getattr(self, "password", None), getattr(self, "api_key", None))
        return self

    @property
    def given(self) -> dict[str, Any]:
        """What is to be changed, by field."""
        return {name: value for name, value in dict(self).items() if name != "name" and value is not None}


if TYPE_CHECKING:

    class OdooEditRequest(_Changes):
        """Change a connection to Odoo: only what is given. The type checker's view of it."""

        name: str

else:
    OdooEditRequest = all_optional(
        OdooAddRequest,
        "OdooEditRequest",
        keep=("name",),
        base=_Changes,
        doc="Change a connection to Odoo that is kept in the home database: only what is given.",
    )


class OdooRemoveRequest(ValidatedConfig):
    """Remove a connection to Odoo that no solution uses from the home database."""

    name: OdooName = Field(description=_NAME)


class OdooTestRequest(Request):
    """Log in to an Odoo, and find what its user may read."""

    task = "fbs.test_odoo"

    name: OdooName = Field(default=DEFAULT_CONNECTION, description=_NAME)


ODOO_REQUESTS: Final[Mapping[str, type[ValidatedConfig]]] = {
    "add": OdooAddRequest,
    "edit": OdooEditRequest,
    "test": OdooTestRequest,
    "remove": OdooRemoveRequest,
}
"""By their commands, `fbs odoo …`."""
