"""Turns: whose tasks come next where several groups wait for the same places."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

Flow = TypeVar("Flow", bound="Hashable")


class Turns(Generic[Flow]):
    """Lets flows of work have their turns by weight, as far as one claimer sees.

    Each flow has a time of its own, which goes on by 1 / weight with each of its tasks. The flow
    whose time is earliest comes next. One that comes back after a pause goes on from where the
    others are: what it did not take then is nobody's debt. That is start-time fair queueing.
    """

    def __init__(self) -> None:
        """Let all flows begin together."""
        self._times: dict[Flow, float] = {}
        self._now = 0.0

    def share(self, waiting: Mapping[Flow, float], room: int) -> dict[Flow, int]:
        """Return how many of ``room`` places each of the ``waiting`` flows has; some have none.

        ``waiting`` has the weight of each. Those who get places come first who are next. It
        promises nothing: what is taken in the end is told by ``took``.
        """
        heap = [(self._time_of(flow), place, flow) for place, flow in enumerate(waiting)]
        heapq.heapify(heap)
        places: dict[Flow, int] = {}
        for _ in range(room if heap else 0):
            time, place, flow = heap[0]
            places[flow] = places.get(flow, 0) + 1
            heapq.heapreplace(heap, (time + 1 / waiting[flow], place, flow))
        return places

    def took(self, flow: Flow, number: int, weight: float) -> None:
        """Take it that ``number`` tasks of ``flow`` were taken."""
        self._times[flow] = self._time_of(flow) + number / weight

    def go_on(self, waiting: Mapping[Flow, float]) -> None:
        """Take it that these are the flows that wait now; forget those whose time has passed."""
        if waiting:
            self._now = max(self._now, min(map(self._time_of, waiting)))
        self._times = {flow: time for flow, time in self._times.items() if time > self._now}

    def _time_of(self, flow: Flow) -> float:
        return max(self._times.get(flow, 0.0), self._now)
