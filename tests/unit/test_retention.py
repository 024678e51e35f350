"""What is kept for how long, and who sees to it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from taskscheduler import Context, Handlers, InvalidConfiguration, TaskStatus
from taskscheduler.application.retention import EVERY_S, Retention, expire_all
from taskscheduler.domain.retention import Expiry, RetentionPolicy, RetentionRule
from taskscheduler.entrypoints.exporting import exporter
from taskscheduler.testing import ManualClock, drain, in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taskscheduler.application.scheduler import Scheduler
    from taskscheduler.domain.task import Task

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("30d", RetentionRule(keep=30 * DAY)),
        ("2w", RetentionRule(keep=14 * DAY)),
        ("90s", RetentionRule(keep=timedelta(seconds=90))),
        ("forever", RetentionRule()),
        ("status:Failed=forever", RetentionRule(status=TaskStatus.FAILED)),
        ("kind:Foo=5m", RetentionRule(kind="Foo", keep=timedelta(minutes=5))),
        (
            "status:Completed,kind:a:b=1h",
            RetentionRule(status=TaskStatus.COMPLETED, kind="a:b", keep=timedelta(hours=1)),
        ),
    ],
)
def test_rules_are_text(text: str, rule: RetentionRule):
    assert RetentionRule.parse(text) == rule


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5d", "=30d", "1d,2d", "1000000000d", "Failed=30d"]
)
def test_what_is_no_span_is_refused(text: str):
    with pytest.raises(InvalidConfiguration, match="retention"):
        RetentionPolicy.parse([text])


@pytest.mark.parametrize(
    "text",
    ["status:failed=1d", "queue:a=1d", "status:Pending=1d", "kind:=1d", "kind:Foo=", "kind:Foo"],
)
def test_what_is_no_rule_is_refused(text: str):
    with pytest.raises(InvalidConfiguration, match="retention"):
        RetentionPolicy.parse([text])


def test_what_no_rule_fits_is_kept():
    policy = RetentionPolicy.parse(["status:Failed=1d", "kind:Foo=2d"])
    assert policy.keep(TaskStatus.COMPLETED, "Bar") is None
    assert policy.keep(TaskStatus.FAILED, "Bar") == DAY
    assert policy.keep(TaskStatus.FAILED, "Foo") == 2 * DAY
    assert policy
    assert not RetentionPolicy.parse(["forever"])
    assert not RetentionPolicy()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def completed(scheduler: Scheduler) -> Task:
    handlers = Handlers()

    @handlers.register("noop")
    async def noop(_: Context) -> None: ...

    task_id = await scheduler.schedule("noop", {"a": 1})
    assert await drain(scheduler, handlers) == 1
    return await scheduler.get(task_id)


async def test_a_turn_is_taken_now_and_then(clock: ManualClock):
    scheduler = in_memory(clock)
    retention = Retention(scheduler.store, RetentionPolicy.parse(["0s"]))
    await retention.turn()
    await completed(scheduler)
    clock.advance(seconds=1)
    await retention.turn()
    assert len(await scheduler.list()) == 1
    clock.advance(seconds=EVERY_S)
    await retention.turn()
    assert await scheduler.list() == []


async def test_what_cannot_be_exported_stays(clock: ManualClock, caplog: pytest.LogCaptureFixture):
    scheduler = in_memory(clock)
    task = await completed(scheduler)
    clock.advance(days=2)

    def full(_: Sequence[Task]) -> None:
        raise OSError("no space")  # noqa: TRY003

    await Retention(scheduler.store, RetentionPolicy.parse(["1d"]), full).turn()
    assert await scheduler.list() == [task]
    assert "no space" in caplog.text


async def test_what_goes_is_in_a_file(clock: ManualClock, tmp_path: Path):
    scheduler = in_memory(clock)
    task = await completed(scheduler)
    clock.advance(days=2)
    policy = RetentionPolicy.parse(["1d"])
    seen: list[Expiry] = []
    export = exporter(tmp_path / "new" / "folder")
    done = await expire_all(scheduler.store, policy, export=export, on_turn=seen.append)
    assert done == Expiry((), 0, 1)
    assert seen == [done]
    (file,) = (tmp_path / "new" / "folder").iterdir()
    (line,) = file.read_bytes().splitlines()
    written = msgspec.json.decode(line)
    assert (written["id"], written["status"]) == (str(task.id), "Completed")
    assert written["payload"] == {"a": 1}
