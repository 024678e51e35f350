"""How far to claim ahead, and how long to wait for what is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.backoff import FIRST_S, LAST_S, Backoff
from taskscheduler.application.worker.prefetch import AHEAD_MAX, AHEAD_S, Prefetch
from taskscheduler.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_standing_worker_claims_nothing_ahead() -> None:
    """Nor one that has just begun."""
    clock = ManualClock()
    pace = Prefetch(clock)
    assert pace.ahead(0) == 0
    clock.advance(seconds=1)
    assert pace.ahead(0) == 0


def test_a_worker_claims_ahead_what_it_will_soon_begin() -> None:
    """As fast as it goes; and stops when it stops."""
    clock = ManualClock()
    pace = Prefetch(clock)
    begun = ahead = 0
    for _ in range(20):
        clock.advance(seconds=0.1)
        begun += 400
        ahead = pace.ahead(begun)
    assert ahead == pytest.approx(4000 * AHEAD_S, abs=1)
    for _ in range(20):
        clock.advance(seconds=0.1)
        ahead = pace.ahead(begun)
    assert ahead == 0


def test_there_is_a_limit() -> None:
    """However fast it goes."""
    clock = ManualClock()
    pace = Prefetch(clock)
    clock.advance(seconds=0.1)
    assert pace.ahead(10**9) == AHEAD_MAX


@pytest.mark.anyio
async def test_waits_double_and_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a limit, with up to half of each left to chance."""
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    backoff = Backoff()
    for _ in range(10):
        await backoff.sleep()
    for wait, full in zip(waits, full_waits(), strict=False):
        assert full / 2 <= wait <= full
    backoff.reset()
    await backoff.sleep()
    assert waits[-1] <= FIRST_S


def full_waits() -> Iterator[float]:
    """Yield each wait without jitter."""
    wait = FIRST_S
    while True:
        yield wait
        wait = min(wait * 2, LAST_S)
