"""Figures in words, at the borders where one unit becomes the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cognate_core.insight.words import ago, compact, duration, size

MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (99.4, "99 s"),
        (99.5, "2 min"),
        (100, "2 min"),
        (3 * MINUTE, "3 min"),
        (59 * MINUTE, "59 min"),
        (60 * MINUTE, "60 min"),
        (99 * MINUTE + 29, "99 min"),
        (99 * MINUTE + 31, "1 h 40 min"),
        (100 * MINUTE, "1 h 40 min"),
        (2 * HOUR, "2 h"),
        (2 * HOUR + 20, "2 h"),
        (2 * HOUR + 5 * MINUTE, "2 h 5 min"),
        (3 * HOUR - 20, "3 h"),
        (47 * HOUR + 59 * MINUTE, "47 h 59 min"),
        (48 * HOUR, "2 days"),
        (48 * HOUR - 10, "2 days"),
        (7 * DAY + HOUR, "7 days"),
        (400 * DAY, "400 days"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (999.4, "999 bytes"),
        (1000, "1 KB"),
        (1234, "1.23 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (88_161_696, "88.2 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (16_400_000_000, "16.4 GB"),
        (999.4e9, "999 GB"),
        (1e12, "1,000 GB"),
        (12_345e9, "12,345 GB"),
    ],
)
def test_size(count: float, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (999, "999"),
        (99_999, "99,999"),
        (100_000, "100 thousand"),
        (999_499, "999 thousand"),
        (999_500, "1 million"),
        (2_098_304, "2.1 million"),
        (22_040_424, "22 million"),
        (999_499_999, "999 million"),
        (999_500_000, "1 billion"),
        (4.096e9, "4.1 billion"),
        (999e9, "999 billion"),
    ],
)
def test_compact(count: float, words: str) -> None:
    assert compact(count) == words


@given(count=st.integers(0, 10**18))
@example(count=10**12)  # tokens of a long run of a large batch
@example(count=4096 * 16_384 * 1024 * 10_000_000)  # the largest that the settings allow
def test_people_never_read_powers_of_ten(count: int) -> None:
    for words in (size(count), compact(count), duration(count)):
        assert re.fullmatch(r"[\d,.]+( h \d+)?( [a-zA-Z]+)?", words), words


@given(st.integers(0, 10**15), st.sampled_from([size, compact]))
def test_words_are_within_a_hundredth_of_the_count(count: int, in_words: Callable[[float], str]) -> None:
    words = in_words(count)
    number, _, unit = words.partition(" ")
    units = {"": 1, "bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "thousand": 1e3, "million": 1e6, "billion": 1e9}
    assert float(number.replace(",", "")) * units[unit] == pytest.approx(count, rel=0.006)


@given(st.floats(0, 1e8), st.floats(0, 1e8))
def test_longer_is_never_told_as_shorter(first: float, second: float) -> None:
    def read(words: str) -> float:
        units = {"s": 1, "min": MINUTE, "h": HOUR, "days": DAY}
        parts = re.findall(r"(\d+) (\w+)", words)
        return sum(int(number) * units[unit] for number, unit in parts)

    shorter, longer = sorted((first, second))
    assert read(duration(shorter)) <= read(duration(longer))
    assert read(duration(longer)) == pytest.approx(longer, rel=0.25, abs=0.5)


NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("back", "words"),
    [
        (timedelta(seconds=-30), "just now"),  # a clock that was set back
        (timedelta(0), "just now"),
        (timedelta(seconds=9.9), "just now"),
        (timedelta(seconds=10), "10 s ago"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_ago(back: timedelta, words: str) -> None:
    assert ago((NOW - back).isoformat(timespec="milliseconds"), NOW) == words


def test_ago_understands_other_time_zones() -> None:
    assert ago("2025-03-01T14:55:00.000+03:00", NOW) == "5 min ago"


def test_ago_counts_from_now() -> None:
    assert ago((datetime.now(UTC) - timedelta(minutes=10)).isoformat()) == "10 min ago"
