"""HTML pages: solutions, catalogues, changes between refreshes, jobs, and connections to Odoo.

Pages are rendered on the server. The bundled htmx only keeps parts of them live; without JavaScript those parts have a
link to reload the page.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException

__all__ = ["attach"]


def attach(app: FastAPI) -> None:
    """Add the pages to the API's application, and an error page for unknown paths outside of the API.

    Args:
        app: the application of `fbs_worker.web.app.create_app`, with settings and tokens in `app.state`.
    """
    from fbs_worker.web.pages import (
        actions,
        assets,
        catalogue,
        home,
        jobs,
        login,
        odoo,
        records,
        reference,
        setup,
        solution,
    )
    from fbs_worker.web.pages.layout import Layout, error_page, handle_http_exception
    from fbs_worker.web.pages.session import Sessions

    sessions = app.state.sessions = Sessions(app.state.settings, app.state.tokens)
    app.state.session_principal = sessions.principal
    app.state.error_page = error_page
    app.state.pages = Layout(sessions, jobs.seconds_of, jobs.action_of, reference.prose)
    for part in (assets, login, home, solution, catalogue, records, jobs, odoo, setup, reference, actions):
        app.router.routes.extend(part.router.routes)
    app.add_exception_handler(HTTPException, handle_http_exception)
