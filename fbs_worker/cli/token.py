"""`fbs new-token`: a token for the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, note, print_json, say


def new_token(
    name: Annotated[
        str, typer.Option("--name", envvar="FBS_TOKEN_NAME", help="The token's name, e.g. of the client that uses it.")
    ] = "token",
    scope: Annotated[
        str, typer.Option("--scope", envvar="FBS_TOKEN_SCOPE", help="read, or write, which includes read.")
    ] = "read",
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Create a token for the HTTP API.

    The token is printed only once: its entry for FBS_API_TOKENS contains its hash.
    """
    from fbs_worker.web.api.tokens import Entry, new_token

    token = new_token()
    entry = Entry.of(token, name=name, scope=scope)
    if output_format is OutputFormat.JSON:
        print_json({"token": token, "entry": str(entry)})
        return
    say(token)
    say(str(entry))
    note("The first line is the token, for the client. The second is its entry, for FBS_API_TOKENS.")
