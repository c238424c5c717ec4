"""What unit tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def at_once(without_pauses: None) -> None:
    """No unit test waits for a Redis that is not there."""
