"""What embedders call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
import pytest

from taskscheduler import (
    InvalidTask,
    NewTask,
    Scheduler,
    TaskExists,
    TaskNotFound,
    TaskQuery,
    TaskStatus,
    UnknownKind,
)
from taskscheduler.domain.values import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

LATER = datetime(2124, 1, 1, tzinfo=UTC)


class Bell:
    """Wake-ups that are only counted."""

    def __init__(self) -> None:
        self.rung: list[set[str]] = []

    def ring(self, queues: Collection[str]) -> None:
        self.rung.append(set(queues))


class Receipt(msgspec.Struct):
    to: str
    at: datetime


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def scheduler(scheduler_in_memory: Scheduler, bell: Bell) -> Scheduler:
    store = replace(scheduler_in_memory.store, wakeups=bell)  # pyright: ignore[reportArgumentType]
    return Scheduler(store)


async def test_one_task_is_stored_with_its_options(scheduler: Scheduler) -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    task_id = await scheduler.schedule(
        "mail",
        Receipt("zoe", at),
        execute_at=at,
        queue="letters",
        priority=1,
        max_attempts=2,
        timeout=timedelta(seconds=3),
        unique_key="k",
        id=UUID(int=7),
    )
    task = await scheduler.get(task_id)
    assert task_id == task.id == UUID(int=7)
    assert task.payload_json == b'{"to":"zoe","at":"2027-01-01T00:00:00Z"}'
    assert (task.execute_at, task.queue, task.priority) == (at, "letters", 1)
    assert (task.max_attempts, task.timeout, task.unique_key) == (2, timedelta(seconds=3), "k")
    assert [found.id for found in await scheduler.list(TaskQuery(kind="mail"))] == [task_id]
    assert list(await scheduler.attempts(task_id)) == []


async def test_many_are_stored_in_any_form(scheduler: Scheduler) -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    prepared = scheduler.prepare("a", 1)
    ids = await scheduler.schedule_many([prepared, ("b", 2), ("c", 3, at)])
    tasks = [await scheduler.get(task_id) for task_id in ids]
    assert [(task.kind, task.payload_json) for task in tasks] == [
        ("a", b"1"),
        ("b", b"2"),
        ("c", b"3"),
    ]
    assert tasks[0].id == prepared.id
    assert tasks[2].execute_at == at
    assert list(await scheduler.schedule_many([])) == []


async def test_the_faulty_one_of_many_is_named(scheduler: Scheduler) -> None:
    with pytest.raises(InvalidTask) as refused:
        await scheduler.schedule_many([("a", 1), ("b c", 2)])
    assert (refused.value.index, refused.value.field) == (1, "kind")
    assert list(await scheduler.list()) == []


async def test_a_delay_counts_from_now(scheduler: Scheduler) -> None:
    before = datetime.now(UTC)
    task = scheduler.prepare("a", delay=timedelta(hours=1))
    assert task.execute_at is not None
    assert timedelta(hours=1) <= task.execute_at - before < timedelta(hours=2)
    with pytest.raises(InvalidTask, match="either"):
        scheduler.prepare("a", delay=timedelta(1), execute_at=before)


@pytest.mark.parametrize("payload", [object(), {1j}, {"a": object()}, "\ud800"], ids=ascii)
def test_a_payload_without_a_json_form_is_refused(scheduler: Scheduler, payload: object) -> None:
    with pytest.raises(InvalidTask, match="JSON"):
        scheduler.prepare("a", payload)


def test_a_payload_within_itself_is_refused(scheduler: Scheduler) -> None:
    payload: list[Any] = []
    payload.append(payload)
    with pytest.raises(InvalidTask, match="JSON"):
        scheduler.prepare("a", payload)


async def test_known_kinds_are_required(scheduler: Scheduler) -> None:
    with pytest.raises(UnknownKind) as refused:
        await scheduler.require_known(["mail"])
    assert (refused.value.kind, refused.value.known) == ("mail", ())
    await scheduler.store.kinds.register({"mail": 1, "fax": 1})
    await scheduler.require_known(["mail", "fax"])
    with pytest.raises(UnknownKind, match="fax, mail"):
        await scheduler.require_known(["mail", "pigeon"])


async def test_the_bell_rings_for_what_is_due_soon(
    scheduler: Scheduler, bell: Bell, manual_clock: ManualClock
) -> None:
    await scheduler.schedule("a", queue="one")
    await scheduler.schedule("a", queue="late", delay=timedelta(days=1))
    await scheduler.schedule_many(
        [
            scheduler.prepare("a", queue="late", delay=timedelta(days=1)),
            scheduler.prepare("a", queue="two"),
            scheduler.prepare("a", queue="two"),
            scheduler.prepare("a", queue="three", execute_at=datetime(2020, 1, 1, tzinfo=UTC)),
        ]
    )
    await scheduler.schedule("a", connection=object(), queue="theirs")
    assert bell.rung == [{"one"}, {"two", "three"}]


async def test_changes_by_hand_ring_too(scheduler: Scheduler, bell: Bell) -> None:
    task_id = await scheduler.schedule("a", queue="q", delay=timedelta(days=1))
    await scheduler.run_now(task_id)
    await scheduler.cancel(task_id)
    assert (await scheduler.retry(task_id)).process_at > datetime.now(UTC)
    assert bell.rung == [{"q"}], "it waits for its own time"
    await scheduler.cancel(task_id)
    await scheduler.retry(task_id, at=AT_ONCE)
    assert bell.rung == [{"q"}, {"q"}]
    assert (await scheduler.get(task_id)).status is TaskStatus.PENDING
    await scheduler.delete(task_id)
    with pytest.raises(TaskNotFound):
        await scheduler.attempts(task_id)


async def test_an_edit_rings_for_what_is_due_soon(scheduler: Scheduler, bell: Bell) -> None:
    task_id = await scheduler.schedule("a", {"b": 1}, queue="q", delay=timedelta(days=1))
    assert (await scheduler.edit(task_id, payload=None, priority=1)).payload_json == b"null"
    assert bell.rung == []
    await scheduler.edit(task_id, execute_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert bell.rung == [{"q"}]
    with pytest.raises(InvalidTask, match="at least one"):
        await scheduler.edit(task_id)


async def test_an_id_is_taken_once(scheduler: Scheduler) -> None:
    task_id = await scheduler.schedule("a", 1)
    assert await scheduler.schedule("a", 1, id=task_id) == task_id
    with pytest.raises(TaskExists):
        await scheduler.schedule("a", 2, id=task_id)


async def test_a_payload_is_given_as_an_object_or_as_its_text(scheduler: Scheduler) -> None:
    """And read as either; nothing that is no JSON is stored in any way."""
    text = b'{"a": 1.10,  "a": 2}'
    task_id = await scheduler.schedule("mail", payload_json=text)
    task = await scheduler.get(task_id)
    assert (task.payload, task.payload_json) == ({"a": 2}, text)
    task = await scheduler.edit(task_id, payload_json=b"[1 ]", priority=1)
    assert (task.payload, task.payload_json) == ([1], b"[1 ]")
    own = NewTask(id=scheduler.store.new_task_id(), kind="mail", payload={"to": ["zoe", None]})
    await scheduler.schedule_many([own])
    assert (await scheduler.get(own.id)).payload == own.payload == {"to": ["zoe", None]}
    for wrong in (b"", b"{", b"\xff", b"1 2", b"NaN", "1", None):
        with pytest.raises(InvalidTask, match="payload"):
            await scheduler.schedule("mail", payload_json=cast("bytes", wrong))
        with pytest.raises(InvalidTask, match="payload"):
            await scheduler.edit(task_id, payload_json=cast("bytes", wrong))
    with pytest.raises(InvalidTask, match="no JSON text") as refused:
        await scheduler.schedule_many([own, own.but(payload_json=b"{")])
    assert refused.value.index == 1
    with pytest.raises(InvalidTask, match="not both"):
        await scheduler.schedule("mail", 1, payload_json=b"1")
    with pytest.raises(InvalidTask, match="not both"):
        await scheduler.edit(task_id, payload=None, payload_json=b"1")
    assert len(await scheduler.list()) == 2


async def test_an_option_that_there_is_none_of_is_refused(scheduler: Scheduler) -> None:
    """Swallowed, a slip would run the task now, or leave it as it was."""
    task_id = await scheduler.schedule("a")
    slip: dict[str, Any] = {"excute_at": LATER}
    calls: list[Callable[..., Any]] = [
        partial(scheduler.schedule, "a", **slip),
        partial(scheduler.schedule, "a", connection=object(), **slip),
        partial(scheduler.edit, task_id, **slip),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"'excute_at' is no option.*mean 'execute_at'"):
            await call()
    options: dict[str, Any] = {"quue": "q"}
    with pytest.raises(TypeError, match="'quue'"):
        scheduler.prepare("a", **options)
    with pytest.raises(TypeError, match="'quue'"):
        await scheduler.schedules.edit("nightly", **options)
    assert [task.id for task in await scheduler.list()] == [task_id]


@pytest.mark.parametrize("spec", ["ab", ("a",), ("a", 1, None, "more"), {"kind": "a"}, 5])
async def test_what_is_no_wish_is_refused(scheduler: Scheduler, spec: Any) -> None:
    """And nothing of it is stored in its place."""
    with pytest.raises(InvalidTask, match=r"^\[1\].task: must be "):
        await scheduler.schedule_many([("a", 1), spec])
    assert list(await scheduler.list()) == []


async def test_a_task_whose_time_is_up_is_refused(scheduler: Scheduler) -> None:
    """By the store's clock; the error names its place."""
    now = await scheduler.store.schedules.now()
    late = scheduler.prepare("a", expires_at=now)
    with pytest.raises(InvalidTask, match=r"^expires_at: must be in the future"):
        await scheduler.put(late)
    with pytest.raises(InvalidTask, match=r"^\[1\].expires_at"):
        await scheduler.schedule_many([("a", 1), late])
    with pytest.raises(InvalidTask, match=r"^\[1\].expires_at"):
        await scheduler.put_many([scheduler.prepare("a"), late])
    assert list(await scheduler.list()) == []
    await scheduler.schedule("a", expires_at=now + timedelta(days=1))


async def test_a_bad_value_of_one_caller_fails_no_neighbour(scheduler: Scheduler) -> None:
    """Ten bad ones of a hundred that come at once."""
    bad: list[dict[str, Any]] = [
        {"unique_key": "\ud800"},
        {"priority": 5.5},
        {"priority": True},
        {"max_attempts": 2.5},
        {"timeout": 5},
        {"execute_at": "now"},
        {"queue": None},
        {"id": "x"},
        {"expires_at": 1},
        {"max_attempts": 2**40},
    ]
    calls = [scheduler.schedule("a", number) for number in range(90)]
    for number, options in enumerate(bad):
        calls.insert(9 * number, scheduler.schedule("a", **options))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, InvalidTask) for answer in answers) == len(bad)
    assert len(await scheduler.list(TaskQuery(limit=1000))) == 90


@pytest.mark.parametrize("task_id", ["abc", str(UUID(int=7)), 7, None])
async def test_what_is_no_id_is_refused_by_every_verb(scheduler: Scheduler, task_id: Any) -> None:
    """On every store in the same words: before it is asked."""
    for verb in ("get", "why", "attempts", "notes", "cancel", "retry", "run_now", "delete"):
        with pytest.raises(InvalidTask, match="id: must be a UUID"):
            await getattr(scheduler, verb)(task_id)
    with pytest.raises(InvalidTask, match="id: must be a UUID"):
        await scheduler.edit(task_id, priority=1)
    with pytest.raises(InvalidTask, match="id: must be a UUID"):
        await scheduler.signal(task_id, "approval")


@pytest.mark.parametrize(
    "field",
    [
        {"status": "Nope"},
        {"status": [5]},
        {"kind": 5},
        {"kind": "\ud800"},
        {"queue": "a\0"},
        {"queue": ["a", None]},
        {"tag": ""},
        {"group": "a\nb"},
        {"before": "x"},
        {"limit": "5"},
        {"limit": -1},
    ],
)
def test_a_query_that_no_task_could_match_is_refused(field: dict[str, Any]) -> None:
    """On some stores it would be an error of the driver."""
    with pytest.raises(
        ValueError, match=next(iter(field)) if "status" not in field else "TaskStatus"
    ):
        TaskQuery(**field)


def test_a_status_may_be_given_as_its_word() -> None:
    """It is the same query."""
    assert TaskQuery(status=cast("Any", "Completed")) == TaskQuery(status=TaskStatus.COMPLETED)


async def test_what_names_no_queue_is_refused(scheduler: Scheduler) -> None:
    """Whatever it is."""
    name: Any
    for name in (5, None, "a b"):
        with pytest.raises(InvalidTask, match="queue"):
            await scheduler.pause_queue(name)
