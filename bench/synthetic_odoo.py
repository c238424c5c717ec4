"""A made-up Odoo 19 of any size, as a process: answers are generated page by page, so that it needs little memory.

    python -m bench.synthetic_odoo MODELS FIELDS_PER_MODEL

prints its URL, and answers until its standard input ends. Every tenth field is a selection of four values, every model
has a form with a header, one module defines everything.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson

NEW: Final = "2026-01-01 00:00:00"
STATES: Final = ("draft", "open", "done", "cancel")


class Made:
    """The rows of the made-up server.

    Args:
        models: how many models.
        per_model: how many fields each has.
    """

    def __init__(self, models: int, per_model: int) -> None:
        self.models = models
        self.per_model = per_model

    def answer(self, model: str, method: str, kwargs: dict[str, Any]) -> Any:
        """The answer to one call of the connector."""
        domain = kwargs.get("domain") or []
        limit = kwargs.get("limit") or sys.maxsize
        if method == "web_search_read":
            rows = self.modules() if model == "ir.module.module" else []
            return {"length": len(rows), "records": rows}
        if model == "ir.model.fields" and any(term[:2] == ["model", "in"] and "ir.model" in term[2] for term in domain):
            columns = enumerate(_COLUMNS, start=1)  # of the connector's probe
            return [{"id": place, "model": name, "name": column, "ttype": "char"} for place, (name, column) in columns]
        if model == "ir.model" and "count" in kwargs["fields"]:
            return []
        make = {"ir.model": self.model_rows, "ir.ui.view": self.view_rows}.get(model)
        if make is not None:
            return list(itertools.islice((row for row in make() if row["id"] > _after(domain)), limit))
        if model == "ir.model.fields":
            return list(itertools.islice(self.field_rows(domain), limit))
        if model == "ir.model.fields.selection":
            requested = next(term[2] for term in domain if term[0] == "field_id.model")
            return list(itertools.islice(self.selection_rows(requested, _after(domain)), limit))
        return []

    @staticmethod
    def modules() -> list[dict[str, Any]]:
        """One application that everything belongs to."""
        row = {"id": 1, "name": "everything", "shortdesc": "Everything", "state": "installed", "application": True}
        return [{**row, "latest_version": "19.0.1.0", "category_id": False, "dependencies_id": [], "write_date": NEW}]

    def model_rows(self) -> Iterator[dict[str, Any]]:
        """Rows of `ir.model`."""
        for number in range(self.models):
            yield {
                "id": number + 1,
                "model": _model(number),
                "name": f"Model number {number}",
                "modules": "everything",
                "transient": False,
                "abstract": False,
                "state": "base",
                "write_date": NEW,
            }

    def field_rows(self, domain: list[Any]) -> Iterator[dict[str, Any]]:
        """Rows of `ir.model.fields` by model and id, from where the domain says."""
        partial, last, requested = "", 0, set()
        for term in domain:
            if term[0] == "model" and term[1] == "in":
                requested = set(term[2])
            elif term[0] == "model":
                partial = term[2]
            elif term[0] == "id":
                last = term[2]
        for name in sorted(requested | ({partial} if partial else set())):
            first = _number(name) * self.per_model + 1
            for number in range(max(first, last + 1) if name == partial else first, first + self.per_model):
                yield self.field_row(name, number)

    def field_row(self, model: str, number: int) -> dict[str, Any]:
        """One row of `ir.model.fields`, as wide as a real one."""
        is_state = number % 10 == 1
        return {
            "id": number,
            "model": model,
            "name": "state" if number % self.per_model == 1 else f"field_{number % self.per_model:03d}",
            "field_description": f"A field with number {number}",
            "ttype": "selection" if is_state else "many2one" if number % 10 == 2 else "char",
            "required": number % 7 == 0,
            "readonly": number % 3 == 0,
            "store": True,
            "index": number % 5 == 0,
            "size": 0,
            "relation": "res.partner" if number % 10 == 2 else False,
            "relation_field": False,
            "on_delete": "set null" if number % 10 == 2 else False,
            "translate": False,
            "modules": "everything",
            "write_date": False,
            "currency_field": False,
            "company_dependent": False,
        }

    def selection_rows(self, models: list[str], after: int) -> Iterator[dict[str, Any]]:
        """Rows of `ir.model.fields.selection`."""
        for name in sorted(models):
            first = _number(name) * self.per_model + 1
            for number in range(first, first + self.per_model, 10):
                for place, state in enumerate(STATES):
                    row_id = number * len(STATES) + place
                    if row_id > after:
                        row = {"id": row_id, "field_id": number, "value": state, "name": state.title()}
                        yield {**row, "sequence": place, "write_date": False}

    def view_rows(self) -> Iterator[dict[str, Any]]:
        """A form per model, with about as much layout as a real one."""
        layout = "".join(f'<field name="field_{number:03d}" string="A label"/>' for number in range(20))
        for number in range(self.models):
            yield {
                "id": number + 1,
                "name": f"form {number}",
                "model": _model(number),
                "type": "form",
                "arch_db": "<form><header><button name='go' type='object' string='Go' invisible=\"state != 'draft'\"/>"
                f"<field name='state' widget='statusbar'/></header><sheet>{layout}</sheet></form>",
                "inherit_id": False,
                "mode": "primary",
                "priority": 16,
                "xml_id": f"everything.form_{number}",
                "write_date": NEW,
            }


_COLUMNS: Final = (
    ("ir.model", "abstract"),
    ("ir.model.fields", "currency_field"),
    ("ir.model.fields", "company_dependent"),
)


def _model(number: int) -> str:
    return f"made.model.{number:06d}"


def _number(model: str) -> int:
    return int(model.rsplit(".", 1)[1])


def _after(domain: list[Any]) -> int:
    return next((int(term[2]) for term in domain if term[0] == "id" and term[1] == ">"), 0)


def serve(made: Made) -> ThreadingHTTPServer:
    """A server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"version": "19.0", "version_info": [19, 0, 0, "final", 0, ""]})

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            params = body.get("params") or {}
            if self.path.endswith("/version_info"):
                info = {
                    "server_version": "19.0",
                    "server_version_info": [19, 0, 0, "final", 0, ""],
                    "server_serie": "19.0",
                }
                self._send({"jsonrpc": "2.0", "id": body.get("id"), "result": info})
                return
            if self.path.endswith("/authenticate"):
                self._send({"jsonrpc": "2.0", "id": body.get("id"), "result": {"uid": 2, "db": "made"}}, cookie=True)
                return
            result = made.answer(params["model"], params["method"], params["kwargs"])
            self._send({"jsonrpc": "2.0", "id": body.get("id"), "result": result})

        def _send(self, payload: Any, *, cookie: bool = False) -> None:
            content = orjson.dumps(payload)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if cookie:
                self.send_header("Set-Cookie", "session_id=made; Path=/; HttpOnly")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class calls it so
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    server = serve(Made(int(sys.argv[1]), int(sys.argv[2])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()
    server.shutdown()
