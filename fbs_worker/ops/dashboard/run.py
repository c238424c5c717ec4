"""The dashboard in this process: what `fbs flower` runs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, listen_error, url_of
from fbs_worker.jobs.app import check, make_app
from fbs_worker.ops.dashboard.auth import Door
from fbs_worker.ops.dashboard.flower_app import Dashboard
from fbs_worker.ops.local.processes import file_lock
from fbs_worker.ops.local.stack import make_home


def run_dashboard(settings: Settings, *, tell: Callable[[str], None]) -> None:
    """Run the dashboard in this process until it is told to stop (SIGTERM, SIGINT, SIGHUP).

    Args:
        settings: what it works with; FBS_HOME holds its history.
        tell: is told its address once it takes requests.

    Raises:
        SettingsError: it has no password, cannot listen where it should, or another setting is not valid.
        UsageError: another dashboard keeps its history in the same folder.
        QueueUnreachable: Redis does not answer; nothing is started then.
    """
    door = Door(settings.fbs_flower_user, settings.fbs_flower_password.get_secret_value())
    folder = make_home(settings) / "flower"
    folder.mkdir(exist_ok=True, mode=0o700)
    app = make_app(settings)
    check(app)
    app.set_current()  # Flower asks the process's application for results and for the time zone
    app.conf.include = ()  # it shows jobs and has none of its own
    app.log.setup(loglevel="INFO", redirect_stdouts=False)
    for name in ("tornado.access", "flower.inspector"):  # each request, and each time that no worker answers
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with file_lock(folder / "lock", wait=False):
            _serve(Dashboard(app, door=door, file=folder / "history.json"), settings, tell)
    except BlockingIOError:
        raise UsageError(
            f"Another dashboard runs with the folder {folder}.", hint="Use that one, or set FBS_HOME to another folder."
        ) from None


def _serve(dashboard: Dashboard, settings: Settings, tell: Callable[[str], None]) -> None:
    address = settings.fbs_flower_address or LOOPBACK
    try:
        port = dashboard.listen(address, settings.fbs_flower_port)
    except OSError as exc:
        raise listen_error("The dashboard", address, settings.fbs_flower_port, exc, setting="FBS_FLOWER") from exc
    loop = dashboard.io_loop
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.asyncio_loop.add_signal_handler(number, loop.stop)
    loop.add_callback(tell, url_of(address, port))
    try:
        dashboard.start()
    finally:
        dashboard.stop()
