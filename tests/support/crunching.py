"""Handlers that run outside of the worker's process, which finds them by their names."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from taskscheduler import Discard, Snooze

if TYPE_CHECKING:
    from taskscheduler.application.worker.outside import OutsideContext


class Numbers(msgspec.Struct):
    """What is added up."""

    numbers: list[int]


class OddError(Exception):
    """One that cannot be sent as it is."""

    def __init__(self, reason: str, *, code: int) -> None:
        """It takes what pickle does not give it."""
        super().__init__(reason)
        self.code = code
        self.lock = asyncio.Lock
        self.opened = (line for line in ())


def add(context: OutsideContext, payload: Numbers) -> dict[str, Any]:
    """Return the sum, and where it was made."""
    return {"sum": sum(payload.numbers), "pid": os.getpid(), "attempt": context.attempt}


async def add_slowly(context: OutsideContext, payload: Numbers) -> int:
    """Return the sum, on a loop of this process."""
    await asyncio.sleep(0)
    return sum(payload.numbers)


def end(context: OutsideContext, payload: str) -> object:
    """End in whatever way is asked for."""
    match payload:
        case "return":
            return Snooze(timedelta(days=1))
        case "discard":
            raise Discard("never")
        case "raise":
            raise ValueError("wrong")
        case "odd":
            raise OddError("odd", code=7)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "store":
            context.scheduler  # noqa: B018 - to ask for it is what is tried
        case "object":
            return object()
        case _:
            return payload
    return None


def say(context: OutsideContext) -> None:
    """Say how far it is."""
    context.progress(0.5, "half", {"rows": 1})
    time.sleep(0.1)


def linger(context: OutsideContext, payload: str) -> None:
    """Write the id of its process, and take long."""
    Path(payload).write_text(str(os.getpid()))
    time.sleep(120)
