"""What unit tests share."""

from __future__ import annotations

import pytest
from redis.backoff import NoBackoff


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is not there is asked again at once."""
    monkeypatch.setattr("fbs_worker.core.redis.ExponentialBackoff", lambda **_: NoBackoff())
