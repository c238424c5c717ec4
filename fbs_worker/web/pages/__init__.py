"""HTML pages over the same values as the API: solutions, catalogues, changes and jobs to look at.

They are rendered here; htmx, which comes with them, only makes parts of them live. Without JavaScript everything works
but those, and they have a link to load the page again.
"""

from __future__ import annotations

from fastapi import FastAPI

__all__ = ["attach"]


def attach(app: FastAPI) -> None:
    """Add the pages to the API's application; the last of its routes, for they also say where nothing is.

    Args:
        app: `fbs_worker.web.app.create_app` makes it; `app.state` has the settings and tokens already.
    """
    from fbs_worker.web.pages import actions, assets, catalogue, home, jobs, login, solution
    from fbs_worker.web.pages.layout import Layout, error_page
    from fbs_worker.web.pages.not_found import MissingPage
    from fbs_worker.web.pages.session import Sessions

    sessions = Sessions.of(app.state.settings, app.state.tokens)
    app.state.session_principal = sessions.principal
    app.state.error_page = error_page
    app.state.pages = Layout(sessions)
    for part in (assets, login, home, solution, catalogue, jobs, actions):
        app.include_router(part.router)
    app.router.routes.append(MissingPage())
