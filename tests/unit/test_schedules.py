"""Schedules under a clock in the test's hands: made, changed, fired."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import Scheduler
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.domain.errors import (
    Forbidden,
    InvalidSchedule,
    InvalidTask,
    ScheduleExists,
    ScheduleNotFound,
)
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.rule import Gap
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap

if TYPE_CHECKING:
    from taskscheduler.domain.task import Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
BOB = Caller(name="bob", queue_prefix="bob.")


def hourly(name: str = "hourly", **fields: Any) -> NewSchedule:
    given: dict[str, Any] = {"kind": "mail", "cron": "0 * * * *"} | fields
    return NewSchedule(name=name, **given)


@pytest.fixture
def scheduler(scheduler_in_memory: Scheduler) -> Scheduler:
    return scheduler_in_memory


@pytest.fixture
def schedules(scheduler: Scheduler) -> Schedules:
    return scheduler.schedules


@pytest.fixture
def firing(scheduler: Scheduler) -> ScheduleRunner:
    return ScheduleRunner(scheduler.store)


async def tasks_of(scheduler: Scheduler) -> list[Task]:
    return sorted(await scheduler.list(TaskQuery(limit=10_000)), key=lambda task: task.execute_at)


# -- what can be a schedule ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": ".."}, "name"),
        ({"cron": None}, "cron"),
        ({"every": HOUR}, "cron"),
        ({"cron": "*" * 257}, "cron"),
        ({"cron": None, "every": timedelta(seconds=0.9)}, "every_s"),
        ({"cron": None, "every": timedelta(days=367)}, "every_s"),
        ({"time_zone": ""}, "time_zone"),
        ({"starts_at": datetime(2026, 1, 1)}, "starts_at"),  # noqa: DTZ001
        ({"ends_at": datetime(9001, 1, 1, tzinfo=UTC)}, "ends_at"),
        (
            {
                "starts_at": datetime(2026, 1, 2, tzinfo=UTC),
                "ends_at": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "ends_at",
        ),
        ({"catch_up": CatchUp.ALL, "overlap": Overlap.SKIP}, "catch_up"),
        ({"kind": "a b"}, "kind"),
        ({"queue": "a b"}, "queue"),
        ({"priority": 10}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"timeout": timedelta(0)}, "timeout_s"),
        ({"payload_json": b"1" * 2_000_000}, "payload"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_field(fields: dict[str, Any], field: str):
    with pytest.raises(InvalidTask) as refused:
        hourly(**fields)
    assert refused.value.field == field


async def test_what_is_not_understood_is_not_kept(schedules: Schedules):
    for fields in ({"cron": "61 * * * *"}, {"time_zone": "Europe/Atlantis"}):
        with pytest.raises(InvalidSchedule):
            await schedules.put(hourly(**fields))
    await schedules.put(hourly())
    with pytest.raises(InvalidSchedule):
        await schedules.edit("hourly", cron="x")
    assert [each.definition for each in await schedules.list()] == [hourly()]


# -- making and changing ---------------------------------------------------------------------------


async def test_putting_it_again_changes_nothing(schedules: Schedules, manual_clock: ManualClock):
    first, made = await schedules.put(hourly())
    assert made
    assert first.next_fire_at == manual_clock.now() + HOUR
    manual_clock.advance(HOUR / 2)
    assert await schedules.put(hourly()) == (first, False)


async def test_another_definition_takes_its_place(schedules: Schedules, manual_clock: ManualClock):
    first, _ = await schedules.put(hourly())
    manual_clock.advance(minutes=20)
    second, made = await schedules.put(hourly(cron="30 * * * *", kind="fax"))
    assert not made
    assert second.next_fire_at == manual_clock.now() + timedelta(minutes=10)
    assert (second.created_at, second.changed_at) == (first.created_at, manual_clock.now())
    assert second.revision > first.revision
    assert await schedules.get("hourly") == second


async def test_what_is_edited_leaves_the_rest(schedules: Schedules, manual_clock: ManualClock):
    await schedules.put(hourly(payload_json=b"1"))
    edited = await schedules.edit("hourly", every=timedelta(minutes=5), priority=1)
    assert edited.definition == hourly(
        payload_json=b"1", cron=None, every=timedelta(minutes=5), priority=1
    )
    assert edited.next_fire_at == manual_clock.now() + timedelta(minutes=5)
    assert (await schedules.edit("hourly", cron="@daily")).definition.every is None
    same = await schedules.edit("hourly", priority=1)
    assert same == await schedules.edit("hourly", priority=1)


async def test_a_pause_stays_until_it_is_resumed(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly())
    paused = await schedules.pause("hourly")
    assert (paused.paused_at, paused.next_fire_at) == (manual_clock.now(), None)
    assert await schedules.pause("hourly") == paused
    manual_clock.advance(HOUR * 5)
    changed, _ = await schedules.put(hourly(priority=1))
    assert (changed.is_paused, changed.next_fire_at) == (True, None)
    assert await firing.turn() is None
    resumed = await schedules.resume("hourly")
    assert (resumed.paused_at, resumed.next_fire_at) == (None, manual_clock.now() + HOUR)
    assert await schedules.resume("hourly") == resumed
    assert await firing.turn() == HOUR
    assert await tasks_of(scheduler) == [], "what passed while it was paused was not to be"


async def test_a_trigger_stores_a_task_for_now(
    schedules: Schedules, manual_clock: ManualClock, scheduler: Scheduler
):
    await schedules.put(hourly(payload_json=b"7", queue="letters"))
    await schedules.pause("hourly")
    ids = [await schedules.trigger("hourly"), await schedules.trigger("hourly")]
    tasks = await tasks_of(scheduler)
    assert {task.id for task in tasks} == set(ids)
    assert {(task.payload_json, task.queue, task.process_at) for task in tasks} == {
        (b"7", "letters", manual_clock.now())
    }
    assert (await schedules.get("hourly")).is_paused


async def test_a_preview_tells_what_comes(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock
):
    await schedules.put(hourly())
    start = manual_clock.now()
    expected = [start + HOUR * number for number in (1, 2, 3)]
    assert await schedules.preview("hourly", 3) == expected
    await schedules.pause("hourly")
    assert await schedules.preview("hourly", 3) == expected
    await schedules.resume("hourly")
    manual_clock.advance(HOUR + TICK)
    assert await schedules.preview("hourly", 3) == expected, "what is due has not fired yet"
    await firing.turn()
    assert await schedules.preview("hourly", 2) == expected[1:]
    await schedules.edit("hourly", ends_at=expected[1])
    assert await schedules.preview("hourly", 9) == [expected[1]]


async def test_what_is_not_there(schedules: Schedules):
    for verb in (
        schedules.get,
        schedules.delete,
        schedules.pause,
        schedules.resume,
        schedules.trigger,
        schedules.preview,
        schedules.edit,
    ):
        for name in ("nobody", "", "a b", "a\0b", "\udcff"):
            with pytest.raises(ScheduleNotFound):
                await verb(name)


async def test_many_who_change_it_at_once(schedules: Schedules):
    await schedules.put(hourly())
    await asyncio.gather(*(schedules.edit("hourly", priority=number) for number in range(5)))
    assert (await schedules.get("hourly")).definition.priority in range(5)


async def test_a_caller_with_a_prefix_sees_its_own_alone(scheduler: Scheduler):
    theirs = TenantScheduler(scheduler, BOB).schedules
    await scheduler.schedules.put(hourly())
    await theirs.put(hourly("bobs", queue="bob.a"))
    assert [each.name for each in await theirs.list()] == ["bobs"]
    assert [each.name for each in await scheduler.schedules.list()] == ["bobs", "hourly"]
    for verb in (theirs.get, theirs.delete, theirs.pause, theirs.trigger, theirs.preview):
        with pytest.raises(ScheduleNotFound):
            await verb("hourly")
    with pytest.raises(ScheduleExists):
        await theirs.put(hourly(queue="bob.a"))
    for change in (theirs.put(hourly("other")), theirs.edit("bobs", queue="ada.a")):
        with pytest.raises(Forbidden):
            await change
    assert (await scheduler.schedules.get("bobs")).definition.queue == "bob.a"
    entries = await scheduler.store.audit.list(AuditQuery(target="bobs"))
    assert [entry.actor for entry in entries] == ["bob"]


# -- what never fires ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "0 0 */31 2 MON#5"}, "cron"),
        ({"cron": "*/5 2 25-31 3 */7", "time_zone": "Europe/Berlin"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": "0 0 1 3 *", "ends_at": datetime(2026, 2, 1, tzinfo=UTC)}, "ends_at"),
        ({"cron": "0 0 31 2 *", "ends_at": datetime(2025, 2, 1, tzinfo=UTC)}, "cron"),
        ({"cron": "0 0 */31 2 MON#5", "ends_at": datetime(2025, 2, 1, tzinfo=UTC)}, "cron"),
        (
            {
                "cron": None,
                "every": timedelta(days=2),
                "ends_at": datetime(2026, 1, 2, tzinfo=UTC),
            },
            "ends_at",
        ),
        (
            {
                "starts_at": datetime(2026, 5, 1, 0, 1, tzinfo=UTC),
                "ends_at": datetime(2026, 5, 1, 0, 59, tzinfo=UTC),
            },
            "ends_at",
        ),
    ],
)
async def test_what_can_never_fire_is_refused(
    schedules: Schedules, fields: dict[str, Any], field: str
):
    """When it is made, and when one is changed to be so."""
    with pytest.raises(InvalidSchedule) as refused:
        await schedules.put(hourly(**fields))
    assert refused.value.field == field
    made, _ = await schedules.put(hourly())
    with pytest.raises(InvalidSchedule) as refused:
        await schedules.put(hourly(**fields))
    assert refused.value.field == field
    assert await schedules.get("hourly") == made


async def test_a_schedule_may_be_ended(schedules: Schedules, manual_clock: ManualClock):
    """By a last time that has passed: that is no mistake, nor is it to put one that has ended."""
    made, _ = await schedules.put(hourly("ended", ends_at=manual_clock.now() - HOUR * 24))
    assert made.next_fire_at is None
    await schedules.put(hourly())
    manual_clock.advance(HOUR / 2)
    ended = await schedules.edit("hourly", ends_at=manual_clock.now() - TICK)
    assert ended.next_fire_at is None
    assert (await schedules.edit("hourly", priority=1)).next_fire_at is None
    assert (await schedules.edit("hourly", ends_at=None)).next_fire_at is not None


# -- what a change leaves --------------------------------------------------------------------------


OTHERS: list[dict[str, Any]] = [
    {"payload": 2},
    {"kind": "fax"},
    {"queue": "letters"},
    {"priority": 0},
    {"max_attempts": 9},
    {"timeout": HOUR},
    {"catch_up": CatchUp.NONE},
    {"overlap": Overlap.SKIP},
]


@pytest.mark.parametrize("change", OTHERS)
async def test_a_change_that_leaves_the_rule_leaves_what_comes(
    schedules: Schedules, manual_clock: ManualClock, change: dict[str, Any]
):
    """What is due, too: a deployment after an outage loses nothing."""
    every: dict[str, Any] = {"cron": None, "every": HOUR * 2}
    first, _ = await schedules.put(hourly(**every))
    for _ in range(4):
        manual_clock.advance(HOUR)
        assert (await schedules.edit("hourly", **change)).next_fire_at == first.next_fire_at
        put, _ = await schedules.put(hourly(**every))
        assert (put.next_fire_at, put.ruled_at) == (first.next_fire_at, first.ruled_at)
    assert first.next_fire_at is not None
    assert manual_clock.now() > first.next_fire_at


async def test_another_rule_leaves_what_is_due(
    schedules: Schedules, firing: ScheduleRunner, manual_clock: ManualClock, scheduler: Scheduler
):
    """And makes no fire of times before it held, whatever is to be caught up with."""
    start = manual_clock.now()
    await schedules.put(hourly(catch_up=CatchUp.ALL))
    manual_clock.advance(HOUR * 3)
    changed = await schedules.edit("hourly", cron="*/10 * * * *")
    assert changed.next_fire_at == start + HOUR
    manual_clock.advance(minutes=25)
    await firing.turn()
    tens = [start + HOUR * 3 + timedelta(minutes=minutes) for minutes in (10, 20)]
    assert [task.execute_at for task in await tasks_of(scheduler)] == [start + HOUR, *tens]


# -- payloads --------------------------------------------------------------------------------------


class Letter(msgspec.Struct):
    """A payload with a type of its own."""

    to: str
    at: date


@dataclass
class Parcel:
    """Another."""

    weight: float


@pytest.mark.parametrize(
    ("payload", "json"),
    [
        (None, b"null"),
        ({"to": "zoe", "n": [1, None]}, b'{"to":"zoe","n":[1,null]}'),
        ("text", b'"text"'),
        (
            Letter("zoe", datetime(2026, 1, 1, tzinfo=UTC)),
            b'{"to":"zoe","at":"2026-01-01T00:00:00Z"}',
        ),
        (Parcel(1.5), b'{"weight":1.5}'),
    ],
)
async def test_a_payload_is_an_object_in_and_out(
    schedules: Schedules, scheduler: Scheduler, payload: object, json: bytes
):
    made, _ = await schedules.put(hourly(payload=payload))
    assert made.definition.payload_json == json
    assert made.definition.payload == msgspec.json.decode(json)
    assert await schedules.put(hourly(payload=payload)) == (made, False)
    assert await schedules.put(hourly(payload_json=json)) == (made, False)
    other = await schedules.edit("hourly", payload=[payload])
    assert other.definition.payload_json == b"[" + json + b"]"
    assert await schedules.edit("hourly", payload_json=json) != other
    (await schedules.trigger("hourly"))
    (task,) = await scheduler.list(TaskQuery())
    assert task.payload_json == json


async def test_json_text_is_kept_to_the_letter(schedules: Schedules):
    made, _ = await schedules.put(hourly(payload_json=b'{"a":  1.10, "a": 2}'))
    assert made.definition.payload_json == b'{"a":  1.10, "a": 2}'
    assert made.definition.payload == {"a": 2}
    changed = await schedules.edit("hourly", priority=1)
    assert changed.definition.payload_json == made.definition.payload_json


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": b"{}"},
        {"payload": object()},
        {"payload": "\ud800"},
        {"payload": "x" * 1024 * 1024},
        {"payload_json": b"{"},
        {"payload_json": b""},
        {"payload_json": b'"\xff"'},
        {"payload_json": b"[" * 100_000},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_is_no_payload_is_refused(schedules: Schedules, fields: dict[str, Any]):
    with pytest.raises(InvalidTask) as refused:
        await schedules.put(hourly(**fields))
    assert refused.value.field == "payload"
    assert await schedules.list() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("cron", 5),
        ("cron", b"@daily"),
        ("crons", "@daily"),
        ("crons", [5]),
        ("every", 5),
        ("time_zone", 5),
        ("time_zone", None),
        ("jitter", 5),
        ("max_fires", True),
        ("max_fires", 2.5),
        ("catch_up_window", 60),
        ("catch_up_max", "3"),
        ("pause_after_failures", 1.0),
        ("catch_up", "nope"),
        ("catch_up", None),
        ("overlap", 7),
        ("gap", "nope"),
        ("fold", True),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    """Whatever store it is for: some would keep it, and nobody could read it."""
    given: dict[str, Any] = {"name": "x", "kind": "mail", "cron": "@daily", field: value}
    if field == "every":
        del given["cron"]
    with pytest.raises(InvalidSchedule, match=field):
        NewSchedule(**given)


def test_a_choice_may_be_given_as_its_word() -> None:
    """As in a configuration, and it is the same choice."""
    given: dict[str, Any] = {"catch_up": "all", "gap": "skip"}
    assert hourly(**given) == hourly(catch_up=CatchUp.ALL, gap=Gap.SKIP)
    assert hourly(**given).catch_up is CatchUp.ALL


async def test_what_names_no_schedule_is_not_found(schedules: Schedules) -> None:
    """Whatever it is."""
    name: Any
    for name in (5, None, "a b", b"x"):
        with pytest.raises(ScheduleNotFound):
            await schedules.get(name)
