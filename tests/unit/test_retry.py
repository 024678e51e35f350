"""How long to wait before the next attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT, RetryPolicy

SHORT = st.timedeltas(timedelta(0), timedelta(days=400))
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, MAX_ATTEMPTS_LIMIT),
    base=SHORT,
    factor=st.floats(1, 1e6),
    cap=SHORT,
    jitter=st.floats(0, 1),
)


def least() -> float:
    """Draw nothing."""
    return 0.0


def test_waits_double_up_to_the_cap() -> None:
    """Without jitter."""
    policy = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(seconds=10), jitter=0)
    waits = [policy.delay(attempt, least).total_seconds() for attempt in (1, 2, 3, 4, 5)]
    assert waits == [2, 4, 8, 10, 10]


def test_jitter_takes_away_at_most_its_share() -> None:
    """It never adds."""
    policy = RetryPolicy(base=timedelta(seconds=8), jitter=0.25)
    assert policy.delay(1, least) == timedelta(seconds=8)
    assert policy.delay(1, lambda: 0.5) == timedelta(seconds=7)
    assert policy.delay(1, lambda: 1.0) == timedelta(seconds=6)


def test_a_power_too_large_is_the_cap() -> None:
    """Not nothing: that would be a storm."""
    assert RetryPolicy(jitter=0).delay(MAX_ATTEMPTS_LIMIT, least) == timedelta(hours=1)


@given(POLICIES, st.integers(1, MAX_ATTEMPTS_LIMIT), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_nothing_and_the_cap(
    policy: RetryPolicy, attempt: int, drawn: float
) -> None:
    """Whatever the policy, the attempt and the draw; no attempt is too large a power."""
    wait = policy.delay(attempt, lambda: drawn)
    assert timedelta(0) <= wait <= policy.cap
    assert wait <= policy.delay(attempt, least)


@given(POLICIES, st.integers(1, 1000))
def test_waits_never_shorten(policy: RetryPolicy, attempt: int) -> None:
    """Apart from jitter."""
    assert policy.delay(attempt, least) <= policy.delay(attempt + 1, least)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": MAX_ATTEMPTS_LIMIT + 1},
        {"base": timedelta(seconds=-1)},
        {"cap": timedelta(seconds=-1)},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": float("nan")},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """With the field's name."""
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**wrong)


def test_no_wait_stays_no_wait() -> None:
    policy = RetryPolicy(base=timedelta(0), max_attempts=5_000)
    assert policy.delay(4_999, lambda: 0.0) == timedelta(0)
