"""What is kept for how long, and who sees to it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import Context, Handlers, InvalidConfiguration, TaskStatus
from taskscheduler.application.maintenance.pruner import (
    EVERY_S,
    STEADY_S,
    Retention,
    expire_all,
    prune_all,
)
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery, Pruned
from taskscheduler.domain.retention import (
    AUDIT_DEFAULT,
    SPAN_MAX,
    Expiry,
    RetentionPolicy,
    RetentionRule,
    audit_span,
    span_of,
)
from taskscheduler.entrypoints.export import exporter
from taskscheduler.testing import ManualClock, drain, in_memory
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taskscheduler.application.client.scheduler import Scheduler
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


def test_a_span_is_as_long_as_time_goes():
    """What is longer would lead out of the years that there are."""
    assert span_of("36600d") == SPAN_MAX
    assert span_of("36601d") is None
    assert span_of("9999999w") is None
    assert span_of("\u0663d") is None, "digits of other scripts"
    with pytest.raises(InvalidConfiguration, match="retention"):
        RetentionPolicy.parse(["999999d"])


def test_the_trail_is_kept_for_a_span_or_for_ever():
    assert audit_span(AUDIT_DEFAULT) == 400 * DAY
    assert audit_span("forever") is None
    for text in ("", "400", "kind:Foo=1d", "never"):
        with pytest.raises(InvalidConfiguration, match="audit trail"):
            audit_span(text)


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
    assert (await drain(scheduler, handlers)).attempts == 1
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


async def test_the_trail_is_pruned_whatever_becomes_of_tasks(clock: ManualClock):
    """Here they are kept for ever, or cannot be written away."""

    def full(_: Sequence[Task]) -> None:
        raise OSError("no space")  # noqa: TRY003

    for policy in (RetentionPolicy(), RetentionPolicy.parse(["0s"])):
        scheduler = in_memory(clock)
        retention = Retention(scheduler.store, policy, full, audit=DAY)
        task = await completed(scheduler)
        await scheduler.store.queues.pause("mail", by=Caller(name="ada"))
        clock.advance(days=2)
        await retention.turn()
        assert await scheduler.store.audit.list(AuditQuery()) == []
        assert await scheduler.list() == [task]


async def test_a_trail_that_is_kept_for_ever_is_not_looked_at(clock: ManualClock):
    scheduler = in_memory(clock)
    await scheduler.store.queues.pause("mail", by=Caller(name="ada"))
    clock.advance(days=9000)
    await Retention(scheduler.store, RetentionPolicy.parse(["1d"])).turn()
    assert len(await scheduler.store.audit.list(AuditQuery())) == 1


async def test_while_more_is_to_be_pruned_it_is_time(clock: ManualClock):
    store = in_memory(clock).store
    trail: Any = Faulty(store.audit)
    found = [Pruned(10, more=True), Pruned(10, more=True), Pruned(1)]

    async def prune(keep: timedelta) -> Pruned:
        assert keep == DAY
        return found.pop(0)

    trail.do_instead("prune", prune)
    retention = Retention(replace(store, audit=trail), RetentionPolicy(), audit=DAY)
    for _ in range(5):
        await retention.turn()
    assert found == []
    assert trail.calls["prune"] == 3


async def test_all_that_is_old_is_pruned_by_hand(clock: ManualClock):
    store = in_memory(clock).store
    trail: Any = Faulty(store.audit)
    found = [Pruned(10, more=True), Pruned(3)]

    async def prune(_: timedelta) -> Pruned:
        return found.pop(0)

    trail.do_instead("prune", prune)
    assert await prune_all(replace(store, audit=trail), DAY) == 13


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


async def test_what_goes_is_for_its_owners_eyes(clock: ManualClock, tmp_path: Path):
    """Whatever the umask, and also where a file of before was for all."""
    scheduler = in_memory(clock)
    task = await completed(scheduler)
    export = exporter(tmp_path / "new")
    before = os.umask(0)
    try:
        export([task])
        (file,) = (tmp_path / "new").iterdir()
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)]
        assert modes == [0o600, 0o700]
        file.chmod(0o644)
        export([task])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_bytes().splitlines()) == 2
    finally:
        os.umask(before)


async def test_a_clock_that_leaps_ahead_for_a_moment_costs_nothing(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    scheduler = in_memory(clock)
    retention = Retention(scheduler.store, RetentionPolicy.parse(["30d"]), audit=DAY)
    task = await completed(scheduler)
    await retention.turn()
    clock.advance(seconds=EVERY_S)
    clock.jump(days=40)
    await retention.turn()
    assert "leapt ahead" in caplog.text
    clock.advance(seconds=10)
    clock.jump(days=-40)
    for _ in range(10):
        clock.advance(seconds=EVERY_S)
        await retention.turn()
    assert await scheduler.list() == [task]


async def test_a_clock_that_leapt_and_goes_on_is_believed(clock: ManualClock):
    scheduler = in_memory(clock)
    retention = Retention(scheduler.store, RetentionPolicy.parse(["30d"]))
    task = await completed(scheduler)
    await retention.turn()
    clock.advance(seconds=EVERY_S)
    clock.jump(days=40)
    await retention.turn()
    assert await scheduler.list() == [task]
    clock.advance(seconds=STEADY_S)
    await retention.turn()
    assert await scheduler.list() == []


async def test_who_begins_while_the_clock_is_ahead_of_all_others_waits_too(clock: ManualClock):
    scheduler = in_memory(clock)
    task = await completed(scheduler)
    clock.jump(datetime.now(UTC) - clock.now() + 40 * DAY)
    await Retention(scheduler.store, RetentionPolicy.parse(["30d"])).turn()
    assert await scheduler.list() == [task]
