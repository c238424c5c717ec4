"""Formatting of times, durations, sizes and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fbs_worker.web.pages import formatting

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "result"),
    [
        (0, "just now"),
        (1.9, "just now"),
        (-1.5, "just now"),
        (5, "5 seconds ago"),
        (60, "a minute ago"),
        (125, "2 minutes ago"),
        (7_200, "2 hours ago"),
        (86_400, "a day ago"),
        (29 * 86_400, "29 days ago"),
        (340 * 86_400, "340 days ago"),
        (366 * 86_400, "1 year, 1 day ago"),
        (800 * 86_400, "2 years ago"),
        (-60, "a minute from now"),
        (-6 * 3_600, "6 hours from now"),
    ],
)
def test_relative_times(seconds: float, result: str) -> None:
    assert formatting.relative(NOW - timedelta(seconds=seconds), now=NOW) == result


def test_a_time_as_html() -> None:
    then = (NOW - timedelta(hours=3)).astimezone(timezone(timedelta(hours=2)))
    expected = '<time datetime="2026-03-04T09:00:00+00:00" title="2026-03-04 09:00:00 UTC">3 hours ago</time>'
    assert formatting.time_tag(then, now=NOW) == expected
    assert formatting.time_tag("2026-03-04T09:00:00+00:00", now=NOW) == expected
    assert formatting.time_tag("2026-03-04T09:00:00", now=NOW) == expected  # PostgreSQL's, without a zone
    assert "2026-03-04 09:00:00 UTC</span></time>" in formatting.time_tag(then, now=NOW, both=True)
    assert formatting.time_tag(None, now=NOW) == ""
    assert formatting.exact(None) == ""
    assert formatting.relative(None, now=NOW) == ""


@pytest.mark.parametrize(
    ("seconds", "result"),
    [(None, ""), (0.0801, "80 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_lengths(seconds: float | None, result: str) -> None:
    assert formatting.duration(seconds) == result


@pytest.mark.parametrize(
    ("count", "result"),
    [(None, ""), (0, "0 Bytes"), (512, "512 Bytes"), (9_262_783, "9.3 MB"), (655_360, "655.4 kB"), (3.2e12, "3.2 TB"), (5e15, "5.0 PB")],
)  # fmt: skip
def test_sizes(count: float | None, result: str) -> None:
    assert formatting.size(count) == result


def test_counts() -> None:
    assert formatting.amount(1, "model") == "1 model"
    assert formatting.amount(0, "model") == "0 models"
    assert formatting.amount(1_234, "refresh", "refreshes") == "1,234 refreshes"
    assert formatting.of_type(1, "bi_feature") == "1 BI feature"
    assert formatting.kind("bi_feature") == "BI feature"
    assert formatting.kind("field") == "field"
    assert formatting.number(None) == ""
    assert formatting.listed(["a", "b", "c"]) == "a, b, c"
    assert formatting.listed(["a", "b", "c", "d", "e"], 2) == "a, b and 3 more"
    assert formatting.listed([]) == ""
