"""How often garbage is collected."""

from __future__ import annotations

import gc

from fbs_worker.core.collector import collect_as_usual, collect_rarely, many_objects


def test_what_was_found_is_given_back_after_the_last_block() -> None:
    for program in (collect_as_usual, collect_rarely):
        program()
        before = gc.get_threshold()
        first, second = many_objects(), many_objects()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert gc.get_threshold()[0] == 100_000
        second.__exit__(None, None, None)
        assert gc.get_threshold() == before
