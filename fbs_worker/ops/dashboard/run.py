"""Run the dashboard in this process (`fbs flower`)."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from tornado.ioloop import PeriodicCallback

from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, listener_of, url_of
from fbs_worker.jobs.app import check, make_app
from fbs_worker.ops.dashboard.auth import BasicAuth
from fbs_worker.ops.dashboard.flower_compat import Dashboard
from fbs_worker.ops.dashboard.history import SYNC_SECONDS, JobSync
from fbs_worker.ops.local.processes import file_lock
from fbs_worker.ops.local.stack import make_home


def run_dashboard(settings: Settings, *, on_ready: Callable[[str], None], listen_fd: int | None = None) -> None:
    """Run the dashboard until SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: the settings; FBS_HOME holds its history.
        on_ready: called with its URL once it accepts requests.
        listen_fd: the file descriptor of a socket that listens already; None to open one.

    Raises:
        SettingsError: no password is set, the address or port cannot be bound, or another setting is invalid.
        UsageError: another dashboard keeps its history in the same folder.
        QueueUnreachable: Redis does not answer; nothing was started.
    """
    auth = BasicAuth(settings.fbs_flower_user, settings.fbs_flower_password.get_secret_value())
    folder = make_home(settings) / "flower"
    folder.mkdir(exist_ok=True, mode=0o700)
    os.umask(0o077)  # what Flower saves is readable to its owner alone
    app = make_app(settings)
    check(app)
    app.set_current()  # Flower reads results and the time zone from the current application
    app.conf.include = ()  # it runs no tasks
    app.log.setup(loglevel="INFO", redirect_stdouts=False)
    for name in ("tornado.access", "flower.inspector"):  # a line per request, and per inspection without workers
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with file_lock(folder / "lock", wait=False):
            dashboard = Dashboard(app, auth=auth, file=folder / "history")
            sync = JobSync(app.jobs, dashboard.events.state, dashboard.io_loop)
            _serve(dashboard, sync, settings, on_ready, listen_fd)
    except BlockingIOError:
        raise UsageError(
            f"Another dashboard runs with the folder {folder}.", hint="Use that one, or set FBS_HOME to another folder."
        ) from None


def _serve(
    dashboard: Dashboard, sync: JobSync, settings: Settings, on_ready: Callable[[str], None], listen_fd: int | None
) -> None:
    listener = listener_of("flower", settings, inherited=listen_fd)
    dashboard.serve_on(listener)
    loop = dashboard.io_loop
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.asyncio_loop.add_signal_handler(signum, loop.stop)
    loop.add_callback(on_ready, url_of(settings.fbs_flower_address or LOOPBACK, listener.getsockname()[1]))
    loop.add_callback(sync.run_once)
    PeriodicCallback(sync.run_once, SYNC_SECONDS * 1000).start()
    try:
        dashboard.start()
    finally:
        dashboard.stop()
