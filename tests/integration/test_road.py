"""docs/how-it-works.md tells a task's road through the files; this walks it."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

import taskscheduler
from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.container import migrate_schema
from taskscheduler.entrypoints.http.app import create_app

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

pytestmark = pytest.mark.anyio

PACKAGE = Path(taskscheduler.__file__).parent
ROAD = (Path(__file__).parents[2] / "docs" / "how-it-works.md").read_text("utf-8")


@contextmanager
def walked() -> Generator[list[str]]:
    """Note the files of the package in which a function runs, in the order of their first one."""
    files: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(PACKAGE)):
            files[str(Path(name).relative_to(PACKAGE))] = None

    found: list[str] = []
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found += files


def told(first: int, last: int) -> list[str]:
    """Return the files that the steps ``first`` to ``last`` name."""
    steps = re.split(r"^(?=\d\. )", ROAD, flags=re.MULTILINE)[first : last + 1]
    return re.findall(r"\]\(\.\./src/taskscheduler/([\w/]+\.py)\)", "".join(steps))


def most(way: str) -> int:
    """Return how many files the page says at most there are on ``way``."""
    (number,) = re.findall(rf"at most (\d+) files {way}", " ".join(ROAD.split()))
    return int(number)


async def test_a_tasks_road_is_as_long_as_it_is_told(postgres_url: str, schema: str) -> None:
    handlers = Handlers()

    @handlers.register("mail")
    async def send(context: Context, to: str) -> None: ...

    await migrate_schema(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema, wakeups="poll:") as scheduler:
        app: Any = create_app(scheduler, kinds={"mail": 1}, open_scheduler=False)
        worker = Worker(scheduler, handlers)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await scheduler.store.kinds.register({"mail": 1})
            task = {"kind": "mail", "payload": "ada"}
            # Lanes, plans and kinds are known after the first of them.
            await client.put("/tasks", json=task)
            assert await worker.turn() == 1
            with walked() as to_the_answer:
                answer = await client.put("/tasks", json=task)
            assert answer.status_code == 201
            with walked() as to_the_outcome:
                assert await worker.turn() == 1
        assert (await scheduler.get(UUID(answer.json()["id"]))).status is TaskStatus.COMPLETED

    def passed(named: list[str], files: list[str]) -> list[str]:
        return [each for each in files if each in named]

    assert sorted(passed(told(1, 3), to_the_answer)) == sorted(told(1, 3)), to_the_answer
    assert sorted(passed(told(4, 6), to_the_outcome)) == sorted(told(4, 6)), to_the_outcome
    assert len(to_the_answer) <= most("to the answer"), to_the_answer
    assert len(to_the_outcome) <= most("from there to the outcome"), to_the_outcome
