"""A contestant's process, from the harness's side of ``benchmarks.protocol``."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.contestants import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contestants import Contestant

PATIENCE_S: Final = 600.0
LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class Broken(Exception):
    """A contestant died, or did not get on."""


class Process:
    """One program, asked one thing at a time."""

    def __init__(self, contestant: Contestant, child: asyncio.subprocess.Process) -> None:
        """``child`` has its pipes open."""
        self._contestant = contestant
        self._child = child
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())
        self.handled = 0
        self.first: float | None = None

    @classmethod
    async def start(cls, contestant: Contestant, url: str, aim: str) -> Self:
        """Start it; it connects when it is asked to."""
        # Standard error is its log: to write it is part of the work, to read it is not.
        child = await asyncio.create_subprocess_exec(
            *contestant.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_SHOW_LOGS") else asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "BENCH_URL": url, "BENCH_AIM": aim, "NO_COLOR": "1"},
            limit=LINE_BYTES_MAX,
        )
        return cls(contestant, child)

    @property
    def rss_bytes(self) -> int:
        """How much memory it holds at present."""
        with open(f"/proc/{self._child.pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Have it do something, and return its answer.

        Raises:
            Broken: it died, or did not answer.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({"do": verb, **fields}).encode() + b"\n")
            await self._child.stdin.drain()
            answer = await asyncio.wait_for(self._answers.get(), PATIENCE_S)
        except (TimeoutError, ConnectionError) as error:
            message = f"{self._contestant.name} did not {verb}: {error!r}"
            raise Broken(message) from error
        if answer is None:
            message = f"{self._contestant.name} died when it should {verb}"
            raise Broken(message)
        return answer

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._reading.done()

    async def end(self) -> None:
        """Let it end in order; if it does not, end it."""
        try:
            if self.is_alive:
                await asyncio.wait_for(self.ask("quit"), 15)
            await asyncio.wait_for(self._child.wait(), 5)
        except (TimeoutError, Broken):
            pass
        finally:
            if self._child.returncode is None:
                self._child.kill()
                await self._child.wait()
            await self._reading

    async def _read(self) -> None:
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            if not line.startswith(b"{"):
                continue
            said = json.loads(line)
            if "answer" in said:
                self._answers.put_nowait(said["answer"])
            elif "handled" in said:
                self.handled, self.first = said["handled"], said["first"]
        self._answers.put_nowait(None)


@asynccontextmanager
async def processes(
    contestant: Contestant, url: str, count: int = 1, *, aim: str = "throughput"
) -> AsyncGenerator[Sequence[Process]]:
    """Start ``count`` of them, connected; end them all."""
    started: list[Process] = []
    try:
        while len(started) < count:
            started.append(await Process.start(contestant, url, aim))
        for each in started:
            await each.ask("open")
        yield started
    finally:
        await asyncio.gather(*(each.end() for each in started))


async def install(contestant: Contestant, url: str) -> None:
    """Make the contestant's schema."""
    process = await Process.start(contestant, url, "throughput")
    try:
        await process.ask("install")
    finally:
        await process.end()
