"""The resources: `fbs://SOLUTION/TYPE/NAME` is a discovery, as JSON; the models are listed in pages."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from mcp import types

from fbs_worker.catalogue import queries
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.pagination import bad_cursor, decode_cursor, encode_cursor
from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.solutions.registry import DamagedRow
from fbs_worker.web.mcp.bounds import json_text
from fbs_worker.web.mcp.tools import Source, describe

_JSON: Final = "application/json"
_PAGE: Final = 50
_URI: Final = re.compile(r"fbs://([^/?#]+)/([a-z_]+)/([^/?#]+)(?:\?cursor=([\w-]*))?", re.ASCII)

TEMPLATES: Final = [
    types.ResourceTemplate(
        uri_template=f"fbs://{{solution}}/{kind}/{{name}}{{?cursor}}",
        name=kind,
        title=f"{kind.replace('_', ' ')} of a solution's catalogue",
        description="JSON, as the tool that describes it answers; `next_uri` in it is the next page.",
        mime_type=_JSON,
    )
    for kind in DiscoveryType
]


def list_models(source: Source, cursor: str) -> types.ListResourcesResult:
    """A page of the models of all solutions; a page has those of one solution, and may be empty though more follow.

    Args:
        source: where they are.
        cursor: `next_cursor` of the previous page; empty for the first.

    Returns:
        The page. Where the solution's catalogue cannot be read, `_meta` says why.

    Raises:
        UsageError: the cursor is not valid.
        FBSError: the registry cannot be read.
    """
    match decode_cursor(cursor) if cursor else ["", ""]:
        case [str(name), str(inner)]:
            pass
        case _:
            raise bad_cursor()
    with source.databases.registry() as registry:
        entries = [entry for entry in registry.entries() if entry.solution_name >= name]
    if not entries:
        return types.ListResourcesResult(resources=[])
    entry, *others = sorted(entries, key=lambda entry: entry.solution_name)
    solution = entry.solution_name
    following = encode_cursor([others[0].solution_name, ""]) if others else None
    try:
        if isinstance(entry, DamagedRow):
            raise entry.error
        with source.databases.connection(entry.database) as connection:
            page = queries.page(
                connection,
                entry.table_prefix,
                domain=entry.domain,
                discovery_type=DiscoveryType.MODEL,
                cursor=inner if solution == name else "",
                limit=_PAGE,
                full=False,
            )
    except UsageError:
        raise
    except FBSError as exc:
        unread = {"fbs-worker/not_read": {solution: f"{exc.message} {exc.hint}"}}
        return types.ListResourcesResult(resources=[], next_cursor=following, _meta=unread)
    resources = [
        types.Resource(
            uri=f"fbs://{solution}/{DiscoveryType.MODEL}/{quote(row['name'], safe='')}",
            name=f"{solution}: {row['name']}",
            title=(row["title"] or row["name"])[:200],
            mime_type=_JSON,
        )
        for row in page.rows
    ]
    following = encode_cursor([solution, page.next]) if page.next else following
    return types.ListResourcesResult(resources=resources, next_cursor=following)


def read_resource(source: Source, uri: str) -> types.ReadResourceResult:
    """A discovery, or a further page of it, as JSON.

    Args:
        source: where it is.
        uri: its URI.

    Raises:
        UsageError: no such URI, solution or discovery.
        FBSError: the catalogue cannot be read.
    """
    match = _URI.fullmatch(uri)
    if match is None or match[2] not in list(DiscoveryType):
        raise UsageError(
            "No resource has this URI.",
            hint="Use fbs://SOLUTION/TYPE/NAME with a TYPE of: " + ", ".join(DiscoveryType) + ".",
        )
    solution, kind, name, cursor = match.groups(default="")
    found = describe(source, unquote(solution), DiscoveryType(kind), unquote(name), cursor=cursor)
    if found["next"]:
        found["next_uri"] = f"fbs://{solution}/{kind}/{name}?cursor={found['next']}"
    content = types.TextResourceContents(uri=uri, text=json_text(found), mime_type=_JSON)
    return types.ReadResourceResult(contents=[content])
