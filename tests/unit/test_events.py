"""The stream of events: how it stays alive, how it ends, and how many it serves."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.client.change_feed import ChangeFeed, Changes, Watched
from taskscheduler.domain.errors import StoreUnavailable, TooManyWatchers
from taskscheduler.entrypoints.http.errors import TooManyStreams
from taskscheduler.entrypoints.http.routes import events
from taskscheduler.entrypoints.http.routes.events import Audience
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

NOTHING = Changes([], [])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Looks(ChangeFeed):
    """A watch that finds nothing ``number`` times, and then no store."""

    def __init__(self, number: int) -> None:
        super().__init__(in_memory().store, Watched())
        self._number = number

    async def looks(self, every_s: float = 0) -> AsyncGenerator[Changes]:
        for _ in range(self._number):
            await asyncio.sleep(0)
            yield NOTHING
        raise StoreUnavailable("gone")


async def test_silence_is_broken_by_comments_and_the_end_is_said() -> None:
    audience = Audience()
    number = 2 * int(events.HEARTBEAT_S / events.LOOK_EVERY_S)
    stream = events.streamed(Looks(number), NOTHING, audience)
    first = await anext(stream)
    assert (first.comment, audience.clients) == ("watching", 1)
    assert first.encode() == b": watching\r\n\r\n", "a comment is no message"
    rest = [each async for each in stream]
    assert [each.comment for each in rest[:-1]] == ["still watching"] * 2
    assert all(b"data:" not in each.encode() for each in rest[:-1])
    assert rest[-1].event == "end"
    assert "cannot be reached" in str(rest[-1].data)
    assert audience.clients == 0


async def test_who_leaves_is_not_counted_any_more() -> None:
    audience = Audience()
    async with aclosing(events.streamed(Looks(9), NOTHING, audience)) as stream:
        await anext(stream)
        assert audience.clients == 1
    assert audience.clients == 0


async def test_a_key_that_ends_ends_its_streams() -> None:
    audience = Audience()
    answers = iter([True, False])

    async def let_in() -> bool:
        return next(answers)

    stream = events.streamed(Looks(9), NOTHING, audience, let_in=let_in)
    said = [each async for each in stream]
    assert [each.event for each in said] == [None, "end"]
    assert "revoked" in str(said[-1].data)
    assert audience.clients == 0


async def test_a_stream_ends_when_the_service_stops() -> None:
    answers = iter([False, True])
    stream = events.streamed(Looks(9), NOTHING, Audience(), lambda: next(answers))
    said = [each async for each in stream]
    assert [each.event for each in said] == [None, "end"]
    assert "stops" in str(said[-1].data)


async def test_who_comes_too_late_is_told_so_and_not_counted() -> None:
    audience = Audience()
    audience.clients = events.CLIENTS_MAX
    (only,) = [each async for each in events.streamed(Looks(9), NOTHING, audience)]
    assert (only.event, audience.clients) == ("end", events.CLIENTS_MAX)


def test_there_is_a_limit() -> None:
    audience = Audience()
    audience.clients = events.CLIENTS_MAX
    with pytest.raises(TooManyWatchers, match="100 watch"):
        audience.check()


async def test_one_key_locks_nobody_out() -> None:
    audience = Audience()
    streams = [
        events.streamed(Looks(9), NOTHING, audience, key="a")
        for _ in range(events.CLIENTS_PER_KEY_MAX)
    ]
    for stream in streams:
        await anext(stream)
    with pytest.raises(TooManyStreams, match="this key has 20 streams"):
        audience.check("a")
    (only,) = [each async for each in events.streamed(Looks(9), NOTHING, audience, key="a")]
    assert only.event == "end"
    audience.check("b")
    audience.check(None)
    for stream in streams:
        await stream.aclose()
    assert (audience.clients, audience.by_key) == (0, {})
    audience.check("a")
