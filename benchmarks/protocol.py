"""What a contestant's process understands: one JSON object a line, in and out.

Every contestant, ours and the peers, is a program of its own, so that each can live in its own
environment and language; ``peers/node/serve.mjs`` is the twin of this file. This one needs nothing
but the standard library. Marks in time are of CLOCK_MONOTONIC, which all processes share.

It is asked ``{"do": verb, ...}`` and answers ``{"answer": {...}}``. While it works it reports
``{"handled": how many, "first": when the first handler began}`` by itself.

- ``install``: make the schema in an empty database
- ``open``: connect
- ``bulk``: store ``count`` tasks by the fastest call that is documented; ``seconds``
- ``single``: store ``count`` tasks one by one, from ``callers`` at once; ``seconds``
- ``trickle``: store ``count`` tasks, one every ``every_s``, due ``lead_s`` later or, without one,
  at once; ``marks``, when each was due, or else when its commit was acknowledged
- ``work``: begin to work, and go on; ``record`` keeps when each handler began
- ``begun``: ``marks``, by task
- ``quit``: end in order

What else it is asked the contestant answers itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

REPORT_S = 0.02


class Contestant(Protocol):
    """What is measured of everybody."""

    async def install(self) -> None:
        """Make the schema."""
        ...

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...

    async def bulk(self, numbers: range) -> None:
        """Store a task for each of ``numbers`` and commit."""
        ...

    async def single(self, number: int) -> None:
        """Store one task that is due now, and commit."""
        ...

    async def later(self, number: int, due: datetime) -> None:
        """Store one task that is due at ``due``, and commit."""
        ...

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """Run a worker whose handler calls ``handled`` with the task's number."""
        ...


class Handled:
    """Counts what handlers did. It is all that a handler does."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.count = 0
        self.first: float | None = None
        self.begun: dict[int, float] | None = None

    def __call__(self, number: int) -> None:
        """Count one."""
        if self.first is None:
            self.first = time.monotonic()
        self.count += 1
        if self.begun is not None:
            self.begun[number] = time.monotonic()


class Options:
    """What the harness says by the environment."""

    url: str = os.environ.get("BENCH_URL", "")
    patient: bool = os.environ.get("BENCH_AIM") != "latency"
    """Whether settings should favour many tasks a second over a quick start of each."""


class _Server:
    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._handled = Handled()
        self._stopping = asyncio.Event()
        self._working: list[asyncio.Task[None]] = []
        self._is_open = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request: dict[str, Any] = json.loads(line)
            verb = request.pop("do")
            if verb == "quit":
                break
            own = getattr(self, f"_{verb}", None)
            answer = await (own or getattr(self._contestant, verb))(**request)
            say({"answer": answer or {}})
        self._stopping.set()
        for task in self._working:
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(task, 5)
        if self._is_open:
            await self._contestant.close()
        say({"answer": {}})

    async def _install(self) -> None:
        await self._contestant.install()

    async def _open(self) -> None:
        await self._contestant.open()
        self._is_open = True

    async def _bulk(self, first: int, count: int) -> dict[str, Any]:
        began = time.monotonic()
        await self._contestant.bulk(range(first, first + count))
        return {"seconds": time.monotonic() - began}

    async def _single(self, first: int, count: int, callers: int) -> dict[str, Any]:
        numbers = iter(range(first, first + count))

        async def call() -> None:
            for number in numbers:
                await self._contestant.single(number)

        began = time.monotonic()
        await asyncio.gather(*(call() for _ in range(callers)))
        return {"seconds": time.monotonic() - began}

    async def _trickle(
        self, first: int, count: int, every_s: float, lead_s: float
    ) -> dict[str, Any]:
        marks: list[tuple[int, float]] = []
        began = time.monotonic()
        for number in range(first, first + count):
            await asyncio.sleep(began + (number - first) * every_s - time.monotonic())
            if lead_s:
                # Whole milliseconds: not everybody's times have more.
                due = datetime.now(UTC) + timedelta(seconds=lead_s)
                due = due.replace(microsecond=due.microsecond // 1000 * 1000)
                marks.append((number, time.monotonic() + due.timestamp() - time.time()))
                await self._contestant.later(number, due)
            else:
                await self._contestant.single(number)
                marks.append((number, time.monotonic()))
        return {"marks": marks}

    async def _work(self, *, record: bool = False) -> None:
        if record:
            self._handled.begun = {}
        self._working = [
            asyncio.create_task(self._contestant.work(self._handled, self._stopping)),
            asyncio.create_task(self._report()),
        ]
        self._working[0].add_done_callback(self._ended)

    async def _begun(self) -> dict[str, Any]:
        return {"marks": list((self._handled.begun or {}).items())}

    async def _report(self) -> None:
        told = 0
        while not self._stopping.is_set():
            await asyncio.sleep(REPORT_S)
            if self._handled.count != told:
                told = self._handled.count
                say({"handled": told, "first": self._handled.first})

    def _ended(self, working: asyncio.Task[None]) -> None:
        if not self._stopping.is_set() and not working.cancelled():
            print(f"the worker ended: {working.exception()!r}", file=sys.stderr, flush=True)
            os._exit(1)


def say(line: dict[str, Any]) -> None:
    """Write one line and let it go."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def serve(contestant: Contestant) -> None:
    """Do what standard input asks until it ends."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - it exists on some platforms only
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_Server(contestant).run())
