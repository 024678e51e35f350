"""What ``WakeUps`` and ``Listener`` promise. These tests run in real time."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler.testing.contracts.steps import (
    PATIENCE_S,
    Contract,
    lease_one,
    put,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.store import Store
    from taskscheduler.domain.ports.wakeups import Listener, WakeUps

SILENCE_S = 0.2
"""How long to listen for what should not be said."""
TRIES: Final = 3
"""So many fit into ``SILENCE_S``; see ``tries_within``."""
PAUSE_S: Final = 0.05
"""The least pause after a first failure; the least of each further one is twice as long."""


def tries_within(seconds: float) -> int:
    """Return how many tries there may be in so long a time, which a busy machine can draw out."""
    return 1 + int(math.log2(1 + seconds / PAUSE_S))


class WakeUpListener:
    """A listener, and how many cancellations it heard of."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.cancellations = 0
        self.listener: Listener

    def on_cancellation(self) -> None:
        """Count."""
        self.cancellations += 1


@asynccontextmanager
async def listening(store: Store, *queues: str) -> AsyncGenerator[WakeUpListener]:
    """Listen, and wait until wake-ups are heard."""
    ear = WakeUpListener()
    async with store.wakeups.listen(
        queues or ("default",), on_cancellation=ear.on_cancellation
    ) as ear.listener:
        await until(lambda: ear.listener.degraded is None)
        await ear.listener.wait(0)
        yield ear


class RingingContract(Contract):
    """Whoever rings is never held up, whether anybody hears it or not."""

    async def test_ringing_needs_no_listener(self, store: Store) -> None:
        """It never raises."""
        store.wakeups.ring({"default"})
        async with listening(store):
            pass
        store.wakeups.ring({"default"})
        store.wakeups.ring_cancellation()

    async def test_ringing_does_not_wait(self, store: Store) -> None:
        """However often."""
        began = time.monotonic()
        for _ in range(1_000):
            store.wakeups.ring({"default"})
        assert time.monotonic() - began < PATIENCE_S / 10

    async def test_waiting_ends_with_its_time(self, store: Store) -> None:
        """When nothing is said."""
        async with listening(store) as ear:
            assert await ear.listener.wait(SILENCE_S) is False


class SilenceContract(Contract):
    """Where hints cannot be given, nobody waits for that. ``away``: opened, and nobody there."""

    async def test_it_is_said_and_counted(self, away: WakeUps) -> None:
        """Since when, and how often it was tried."""
        assert away.hints.untried
        away.ring({"default"})
        await until(lambda: away.hints.failed > 0)
        assert away.hints.degraded
        assert away.hints.sent == 0

    async def test_it_is_tried_again_without_another_ring(self, away: WakeUps) -> None:
        """So it heals by itself; and it was so since the first failure."""
        away.ring_cancellation()
        await until(lambda: away.hints.failed > 0)
        since = away.hints.since
        await until(lambda: away.hints.failed >= TRIES)
        assert away.hints.since == since

    async def test_it_is_tried_after_pauses(self, away: WakeUps) -> None:
        """However often somebody rings."""
        began = time.monotonic()
        away.ring({"default"})
        await until(lambda: away.hints.failed > 0)
        for _ in range(50):
            away.ring({"default"})
            await asyncio.sleep(SILENCE_S / 50)
        assert away.hints.failed <= tries_within(time.monotonic() - began)

    async def test_leaving_ends_a_pause(self, away: WakeUps) -> None:
        """What was not told is dropped."""
        async with away.opened():
            away.ring({"default"})
            await until(lambda: away.hints.failed >= TRIES)
            began = time.monotonic()
        assert time.monotonic() - began < SILENCE_S
        failed = away.hints.failed
        await asyncio.sleep(SILENCE_S)
        assert away.hints.failed == failed


class HearingContract(RingingContract):
    """Hints are heard by somebody whom they concern."""

    async def test_a_ring_wakes_one_at_least(self, store: Store) -> None:
        """Of those who listen for the queue."""
        async with listening(store) as ear:
            waiting = asyncio.create_task(ear.listener.wait(PATIENCE_S))
            await asyncio.sleep(0)
            store.wakeups.ring({"default"})
            assert await waiting is True

    async def test_a_ring_between_two_waits_is_heard_by_the_next(self, store: Store) -> None:
        """Several may come as one."""
        async with listening(store) as ear:
            assert await ear.listener.wait(0) is False
            for _ in range(3):
                store.wakeups.ring({"default"})
            assert await ear.listener.wait(PATIENCE_S) is True

    async def test_other_queues_are_not_heard(self, store: Store) -> None:
        """Waiting ends with its time."""
        async with listening(store) as ear:
            store.wakeups.ring({"letters"})
            store.wakeups.ring(set())
            assert await ear.listener.wait(SILENCE_S) is False

    async def test_any_number_of_queues_may_ring(self, store: Store) -> None:
        """However long their names."""
        queues = {f"{number:0128d}" for number in range(1_000)}
        async with listening(store, min(queues)) as ear:
            store.wakeups.ring(queues)
            assert await ear.listener.wait(PATIENCE_S) is True


class WakeUpsContract(HearingContract):
    """Hints are heard by all whom they concern."""

    async def test_a_ring_is_heard(self, store: Store) -> None:
        """By everyone who listens for the queue."""
        async with listening(store) as one, listening(store, "letters", "default") as two:
            waits = [asyncio.create_task(ear.listener.wait(PATIENCE_S)) for ear in (one, two)]
            await asyncio.sleep(0)
            store.wakeups.ring({"default"})
            assert await asyncio.gather(*waits) == [True, True]

    @pytest.mark.parametrize("verb", ["cancel", "delete"])
    async def test_a_lease_taken_away_is_told(self, store: Store, verb: str) -> None:
        """The worker need not wait for its next beat."""
        lease = await lease_one(store)
        async with listening(store) as ear:
            if verb == "cancel":
                await store.tasks.cancel(lease.task_id)
            else:
                await store.tasks.delete(lease.task_id, force=True)
            await until(lambda: ear.cancellations > 0)

    async def test_cancelling_what_nobody_runs_is_not_told(self, store: Store) -> None:
        """There is nobody to stop."""
        task_id = await put(store)
        async with listening(store) as ear:
            await store.tasks.cancel(task_id)
            store.wakeups.ring({"default"})
            assert await ear.listener.wait(PATIENCE_S) is True
            assert ear.cancellations == 0
