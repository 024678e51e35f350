"""A worker and a feeder that keeps some tasks ahead of it, for as long as is wanted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.process import Broken, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contestants import Contestant

STALLED_S: Final = 60.0
LEAST: Final = 500
LOOK_S: Final = 0.01
EVERY_S: Final = 1.0


class Sample(NamedTuple):
    """What had been done at a moment."""

    seconds: float
    handled: int
    rss_bytes: int


async def fed(
    contestant: Contestant, url: str, ahead: int, enough: Callable[[Sample], bool]
) -> list[Sample]:
    """Feed and work until ``enough``; return a sample a second.

    Raises:
        Broken: nothing was handled for a minute.
    """
    samples: list[Sample] = []
    async with (
        processes(contestant, url) as (worker,),
        processes(contestant, url) as (feeder,),
    ):
        await worker.ask("work")
        began = moved = time.monotonic()
        stored = handled = 0
        while not (samples and enough(samples[-1])):
            room = ahead - (stored - worker.handled)
            if room >= LEAST:
                await feeder.ask("bulk", first=stored, count=room)
                stored += room
            else:
                await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            if worker.handled != handled:
                handled, moved = worker.handled, now
            elif now - moved > STALLED_S or not worker.is_alive:
                message = f"{contestant.name} came to a halt after {handled}"
                raise Broken(message)
            if now - began >= len(samples) * EVERY_S:
                samples.append(Sample(now - began, handled, worker.rss_bytes))
    return samples


def rate_between(samples: list[Sample], begin_s: float, end_s: float) -> float:
    """Return how many tasks a second were handled between two moments."""
    within = [sample for sample in samples if begin_s <= sample.seconds <= end_s]
    if len(within) < 2:
        message = f"there are no two samples between {begin_s:g} s and {end_s:g} s"
        raise ValueError(message)
    first, last = within[0], within[-1]
    return (last.handled - first.handled) / (last.seconds - first.seconds)
