"""What is rung while hints cannot be sent is told as one, once they can."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.wakeups.listener import WakeUpListener, listening
from taskscheduler.application.wakeups.notifier import WakeUpNotifier

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

CUT = OSError("it is cut")


class Line:
    """Stands for what carries hints; it may be cut."""

    def __init__(self) -> None:
        self.cut = False
        self.tried = 0
        self.said: list[str] = []
        self.bell = WakeUpNotifier(
            self.send, bytes_max=100, failures=(OSError,), every_s=0, backoff=Backoff(last_s=0)
        )

    async def send(self, hint: str) -> None:
        self.tried += 1
        await asyncio.sleep(0)
        if self.cut:
            raise CUT
        self.said.append(hint)

    async def until_tried(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.tried < times:
                await asyncio.sleep(0)

    async def until_said(self, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.said) < times:
                await asyncio.sleep(0)


async def test_what_could_not_be_told_is_told_once_and_together() -> None:
    line = Line()
    line.cut = True
    line.bell.ring({"one"})
    await line.until_tried(2)
    line.bell.ring({"two"})
    line.bell.ring_cancellation()
    await line.until_tried(5)
    assert line.said == []
    line.cut = False
    await line.until_said(2)
    await line.bell.finish()
    assert line.said == ["c", "qone,two"]


async def test_a_cancellation_that_was_told_is_not_told_again() -> None:
    line = Line()
    first = asyncio.Event()

    async def send(hint: str) -> None:
        line.tried += 1
        if hint != "c" and not first.is_set():
            first.set()
            raise CUT
        line.said.append(hint)

    line.bell = WakeUpNotifier(
        send, bytes_max=100, failures=(OSError,), every_s=0, backoff=Backoff(last_s=0)
    )
    line.bell.ring({"one"})
    line.bell.ring_cancellation()
    await line.until_tried(3)
    await line.bell.finish()
    assert line.said == ["c", "qone"]


async def test_both_changes_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskscheduler.wakeups")
    line = Line()
    assert line.bell.hints.untried
    line.cut = True
    line.bell.ring({"one"})
    await line.until_tried(4)
    cut_since = line.bell.hints.since
    assert line.bell.hints.degraded == "it is cut"
    line.cut = False
    await line.until_said(1)
    await line.bell.finish()
    hints = line.bell.hints
    assert (hints.degraded, hints.sent, hints.failed) == (None, 1, line.tried - 1)
    assert hints.since > cut_since
    assert [record.message for record in caplog.records] == [
        "wake-ups cannot be sent, workers find work by polling: it is cut",
        "wake-ups are sent again",
    ]


async def test_what_nobody_expected_does_not_silence_it(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()

    async def send(hint: str) -> None:
        line.tried += 1
        if line.tried == 1:
            raise StopAsyncIteration
        line.said.append(hint)

    line.bell = WakeUpNotifier(
        send, bytes_max=100, failures=(OSError,), every_s=0, backoff=Backoff(last_s=0)
    )
    line.bell.ring({"one"})
    await line.until_said(1)
    await line.bell.finish()
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "StopAsyncIteration" in (record.exc_text or "")


async def test_nor_does_it_deafen_a_listener(caplog: pytest.LogCaptureFixture) -> None:
    tried = 0

    async def hear(listener: WakeUpListener, on_hearing: Callable[[], None]) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise StopAsyncIteration
        on_hearing()
        await asyncio.Event().wait()

    async with listening({"default"}, lambda: None, hear, failures=(OSError,)) as listener:
        assert await listener.wait(5) is True
        assert listener.degraded is None
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "StopAsyncIteration" in (record.exc_text or "")


async def test_at_its_end_it_tries_once_and_lets_go() -> None:
    line = Line()
    line.cut = True
    line.bell.ring({"one"})
    await line.bell.finish()
    assert line.tried == 1
    await asyncio.sleep(0)
    line.cut = False
    line.bell.ring({"two"})
    await line.bell.finish()
    assert line.said == ["qtwo"]
