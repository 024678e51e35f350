"""``taskscheduler`` as its users start it: processes, what they print, and how they end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from taskscheduler import Scheduler, Task, TaskQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from uuid import UUID

PROGRAM: Final = Path(sys.executable).with_name("taskscheduler")
PATIENCE_S: Final = 30.0
ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+")

JOBS: Final = '''\
"""Handlers that tests steer from outside."""

import asyncio
from datetime import timedelta
from pathlib import Path

from taskscheduler import Handlers, RetryPolicy

handlers = Handlers()
SOON = RetryPolicy(max_attempts=3, base=timedelta(milliseconds=10))


@handlers.register("Quick")
async def quick(context):
    print(f"Quick {context.id}\\n", end="", flush=True)  # one write: processes share the output


@handlers.register("Raise", retry=SOON)
async def raise_(context):
    raise RuntimeError("it did not work \\0 \\N{SNOWMAN}")


@handlers.register("Typed")
async def typed(context, payload: dict[str, int]):
    print(f"Typed {sum(payload.values())}", flush=True)


@handlers.register("Gate")
async def gate(context):
    """Run until a file named ``open`` appears in the current folder."""
    print(f"Gate {context.id}", flush=True)
    while not Path("open").exists():
        await asyncio.sleep(0.02)
'''
"""What ``--app jobs:handlers`` names, once it is written to the current folder as ``jobs.py``."""

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], what: str, seconds: float = PATIENCE_S) -> Seen:
    """Look until something is seen, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return seen


def environment(**chosen: str) -> dict[str, str]:
    """Return this process's environment, but for what would steer the programs under test."""
    steering = ("TASKSCHEDULER_", "DATABASE_URL", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    # Any port: the one that the programs take by themselves may be somebody else's here.
    usual = {"COLUMNS": "200", "NO_COLOR": "1", "TASKSCHEDULER_PORT": "0"}
    return kept | usual | chosen


class Program:
    """A process of ``taskscheduler``, in a process group of its own, as a terminal makes it."""

    def __init__(self, folder: Path, name: str, arguments: Iterable[str], **env: str) -> None:
        """Start it in ``folder``; its output goes to files that begin with ``name``."""
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [PROGRAM, *arguments],
                cwd=folder,
                env=environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def lines(self, beginning: str = "") -> list[str]:
        """Return what it has printed so far, line by line."""
        return [each for each in self.out.read_text().splitlines() if each.startswith(beginning)]

    def says(self, text: str) -> None:
        """Wait until its log has ``text``."""
        eventually(lambda: text in self.err.read_text() or not self.runs, f"{text!r} in the log")
        assert text in self.err.read_text(), self.story()

    def address(self) -> str:
        """Wait for the address that it prints."""
        eventually(lambda: ADDRESS.search(self.out.read_text()) or not self.runs, "an address")
        found = ADDRESS.search(self.out.read_text())
        assert found is not None, self.story()
        return found[0]

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole process group hears it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self, code: int = 0, seconds: float = PATIENCE_S) -> None:
        """Wait for its end, which must be an orderly one."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("it did not end:\n" + self.story()) from None
        assert found == code, self.story()
        assert "Traceback" not in self.err.read_text(), self.story()
        assert "never awaited" not in self.err.read_text(), self.story()

    def stop(self, code: int = 0) -> None:
        """Tell it to stop, and wait until it has."""
        self.process.terminate()
        self.ends(code)

    def kill(self) -> None:
        """Kill its whole process group as a crash would, if it is still there."""
        if self.runs:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def story(self) -> str:
        """Return what it printed and logged, for the report of a failed test."""
        return f"exit {self.process.poll()}\n{self.out.read_text()}\n{self.err.read_text()}"[-8000:]


class Programs:
    """Programs that work in one folder with one environment; none outlives the test."""

    def __init__(self, folder: Path, **env: str) -> None:
        """Run them in ``folder`` with ``env``."""
        self.folder = folder
        self.env = env
        self._started: list[Program] = []

    def start(self, *arguments: str, **env: str) -> Program:
        """Start a program that goes on until it is told to stop."""
        name = f"{len(self._started)}-{arguments[0]}"
        program = Program(self.folder, name, arguments, **{**self.env, **env})
        self._started.append(program)
        return program

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [PROGRAM, *arguments],
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=environment(**{**self.env, **env}),
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_S,
        )

    def good(self, *arguments: str, **env: str) -> str:
        """Run a program that must succeed; return what it printed."""
        ran = self.run(*arguments, **env)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def refused(self, *arguments: str, code: int = 2, **env: str) -> str:
        """Run a program that must refuse with one line; return that line."""
        ran = self.run(*arguments, **env)
        assert ran.returncode == code, (ran.returncode, ran.stderr)
        lines = ran.stderr.splitlines()
        assert len(lines) == 1, ran.stderr
        return lines[0]

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder."""
        (self.folder / name).write_text(text, "utf-8")

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill what is still running."""
        for program in self._started:
            program.kill()


def store(url: str, schema: str, tasks: Iterable[tuple[str, object]]) -> list[UUID]:
    """Store ``tasks``, due now."""

    async def work() -> list[UUID]:
        async with Scheduler.postgres(url, schema=schema) as scheduler:
            return list(await scheduler.schedule_many(tasks))

    return asyncio.run(work())


def every_task(url: str, schema: str) -> list[Task]:
    """Return all tasks, newest first."""

    async def work() -> list[Task]:
        found: list[Task] = []
        async with Scheduler.postgres(url, schema=schema) as scheduler:
            while page := await scheduler.list(
                TaskQuery(limit=1000, before=found[-1].id if found else None)
            ):
                found.extend(page)
        return found

    return asyncio.run(work())
