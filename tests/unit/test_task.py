"""What a task must be to be stored, and what its verbs make of it."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.errors import IllegalTransition, InvalidTask
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.status import TRANSITIONS, Event, TaskStatus
from taskscheduler.domain.task import Task
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.values import PAYLOAD_BYTES_MAX, TaskId, WorkerId

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
DELAY = timedelta(seconds=90)
ID = TaskId(UUID(int=1))

VERBS: dict[Event, Callable[[Task], Task]] = {
    Event.CLAIM: lambda task: task.claim(worker_id=WorkerId(7), token=8, now=LATER),
    Event.COMPLETE: lambda task: task.complete(now=LATER),
    Event.EXPIRE: lambda task: task.expire(now=LATER),
    Event.FAIL: lambda task: task.fail(now=LATER),
    Event.CANCEL: lambda task: task.cancel(now=LATER),
    Event.RETRY: lambda task: task.retry(now=LATER, delay=DELAY),
    Event.SNOOZE: lambda task: task.snooze(now=LATER, delay=DELAY),
    Event.RELEASE: lambda task: task.release(now=LATER),
    Event.RESCUE: lambda task: task.rescue(now=LATER, max_attempts=5),
    Event.REVIVE: lambda task: task.revive(now=LATER, max_attempts=5),
    Event.EDIT: lambda task: task.run_now(now=LATER),
}


def stored(**fields: Any) -> Task:
    """Return a pending task."""
    return Task.store(NewTask(id=ID, kind="mail", **fields), now=NOW)


def task_in(status: TaskStatus, **fields: Any) -> Task:
    """Return a task in ``status``, which was reached by its verbs."""
    task = stored(**fields)
    if status is TaskStatus.PENDING:
        return task
    task = task.claim(worker_id=WorkerId(3), token=4, now=NOW)
    match status:
        case TaskStatus.COMPLETED:
            return task.complete(now=NOW)
        case TaskStatus.FAILED:
            return task.fail(now=NOW)
        case TaskStatus.CANCELLED:
            return task.cancel(now=NOW)
        case _:
            return task


# -- what can be stored ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", ""),
        ("kind", "a b"),
        ("kind", "ä"),
        ("kind", "mail\n"),
        ("kind", "a" * 129),
        ("queue", ""),
        ("queue", "a,b"),
        ("queue", "*"),
        ("queue", "q" * 129),
        ("priority", -1),
        ("priority", 10),
        ("max_attempts", 0),
        ("max_attempts", 32_768),
        ("timeout", timedelta(0)),
        ("timeout", timedelta(seconds=-1)),
        ("timeout", timedelta(days=366, microseconds=1)),
        ("execute_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - that is the point
        ("execute_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))),
        ("execute_at", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5)))),
        ("payload_json", b"x" * (PAYLOAD_BYTES_MAX + 1)),
        ("unique_key", ""),
        ("unique_key", "k" * 513),
        ("unique_key", "a\0b"),
        # Of other types than can be stored, which would fail those who share the statement.
        ("id", str(ID)),
        ("id", 7),
        ("id", None),
        ("kind", None),
        ("kind", 5),
        ("kind", b"mail"),
        ("kind", ["mail"]),
        ("kind", len),
        ("queue", None),
        ("queue", {"a": 1}),
        ("priority", True),
        ("priority", 5.5),
        ("priority", 5.0),
        ("priority", "5"),
        ("priority", None),
        ("priority", float("nan")),
        ("priority", 10**30),
        ("max_attempts", 2.5),
        ("max_attempts", True),
        ("max_attempts", "3"),
        ("max_attempts", Decimal(3)),
        ("max_attempts", -(2**70)),
        ("timeout", 5),
        ("timeout", "5s"),
        ("timeout", float("inf")),
        ("timeout", timedelta.max),
        ("execute_at", 1_700_000_000),
        ("execute_at", "2026-01-01T00:00:00Z"),
        ("execute_at", date(2026, 1, 1)),
        ("expires_at", "2026-01-01T00:00:00Z"),
        ("expires_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - that is the point
        ("payload_json", "{}"),
        ("payload_json", {"a": 1}),
        ("payload_json", None),
        ("payload_json", bytearray(b"1")),
        ("payload_json", b'"\xff"'),
        ("payload_json", b'"\xed\xa0\x80"'),
        ("unique_key", 5),
        ("unique_key", b"k"),
        ("unique_key", "a\ud800b"),
        ("unique_key", "\x01acme./k"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_cannot_be_stored_is_refused(field: str, value: object) -> None:
    """The error names the field, as the wire spells it."""
    fields: dict[str, Any] = {"id": ID, "kind": "mail", field: value}
    with pytest.raises(InvalidTask) as refused:
        NewTask(**fields)
    assert refused.value.field == {"timeout": "timeout_s", "payload_json": "payload"}.get(
        field, field
    )
    assert str(refused.value).startswith(refused.value.field)
    assert refused.value.index is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "A-z_0.9:x"),
        ("kind", "a" * 128),
        ("queue", "q" * 128),
        ("priority", 0),
        ("priority", 9),
        ("max_attempts", 1),
        ("max_attempts", 32_767),
        ("timeout", timedelta(microseconds=1)),
        ("timeout", timedelta(days=366)),
        ("execute_at", datetime(1970, 1, 1, tzinfo=UTC)),
        ("payload_json", b"x" * PAYLOAD_BYTES_MAX),
        ("unique_key", "k" * 512),
        ("unique_key", " "),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_the_outermost_values_can_be_stored(field: str, value: object) -> None:
    """A bound is inside."""
    fields: dict[str, Any] = {"id": ID, "kind": "mail", field: value}
    assert getattr(NewTask(**fields), field) == value


class Named(StrEnum):
    """A kind that a program keeps in an enumeration."""

    MAIL = "mail"


class Level(IntEnum):
    """A priority that a program keeps in an enumeration."""

    HIGH = 1


class Moment(datetime):
    """A time of another library."""


def test_what_is_as_good_is_kept_as_the_plain_thing() -> None:
    """No store need know of the types that others derive from those of the language."""
    id_ = type("OtherUUID", (UUID,), {})(int=1)
    at = Moment(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    fields: dict[str, Any] = {"id": id_, "kind": Named.MAIL, "priority": Level.HIGH}
    task = NewTask(**fields, execute_at=at)
    plain = NewTask(id=ID, kind="mail", priority=1, execute_at=at)
    assert task == plain
    assert [type(value) for value in task] == [type(value) for value in plain]
    assert task.execute_at == NOW - timedelta(hours=1)


@pytest.mark.parametrize("expires_at", [LATER - timedelta(days=1), LATER])
def test_a_task_that_could_never_begin_is_refused(expires_at: datetime) -> None:
    """Its time would be up before it is due."""
    with pytest.raises(InvalidTask, match="expires_at: must be after execute_at"):
        NewTask(id=ID, kind="mail", execute_at=LATER, expires_at=expires_at)
    task = NewTask(id=ID, kind="mail", execute_at=NOW, expires_at=LATER)
    with pytest.raises(InvalidTask, match="execute_at: must be before"):
        Task.store(task, now=NOW).edit(TaskEdit(execute_at=LATER), now=NOW)


def test_a_tenants_keys_are_its_own_and_as_long_as_anybodys() -> None:
    """What they begin with where they are kept is not counted, and nobody else's may begin so."""
    tenant, other = Caller(name="a", queue_prefix="a" * 64), Caller(name="b", queue_prefix="b.")
    kept = f"{tenant.key_space}{'k' * 512}"
    assert NewTask(id=ID, kind="mail", unique_key=kept, by=tenant).unique_key == kept
    for by in (None, other, Caller(name="whole")):
        with pytest.raises(InvalidTask, match="U\\+0001"):
            NewTask(id=ID, kind="mail", unique_key=kept, by=by)
    with pytest.raises(InvalidTask, match="512"):
        NewTask(id=ID, kind="mail", unique_key=f"{kept}k", by=tenant)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 5.5),
        ("priority", True),
        ("payload_json", "1"),
        ("payload_json", b"\xff"),
        ("execute_at", "now"),
    ],
)
def test_an_edit_is_checked_as_a_task_is(field: str, value: object) -> None:
    """By the same checks."""
    fields: dict[str, Any] = {field: value}
    with pytest.raises(InvalidTask, match=field.removesuffix("_json")):
        TaskEdit(**fields)


# -- storing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("execute_at", "process_at"),
    [(None, NOW), (NOW - DELAY, NOW), (NOW, NOW), (NOW + DELAY, NOW + DELAY)],
)
def test_a_time_in_the_past_means_now(execute_at: datetime | None, process_at: datetime) -> None:
    """What was asked for is remembered all the same."""
    task = stored(execute_at=execute_at)
    assert task.process_at == process_at
    assert task.execute_at == (execute_at or NOW)
    assert (task.status, task.attempt, task.created_at) == (TaskStatus.PENDING, 0, NOW)


def test_a_task_is_described_by_what_stored_it() -> None:
    """And by nothing else; a time left out fits any."""
    new = NewTask(id=ID, kind="mail", execute_at=LATER, unique_key="k", payload_json=b"1")
    task = Task.store(new, now=NOW)
    assert new.describes(task)
    assert new.but(execute_at=None).describes(task)
    assert new.describes(task.claim(worker_id=WorkerId(1), token=1, now=LATER).complete(now=LATER))
    changes: list[dict[str, Any]] = [
        {"id": TaskId(UUID(int=2))},
        {"kind": "fax"},
        {"queue": "letters"},
        {"payload_json": b"2"},
        {"payload": 2},
        {"unique_key": None},
        {"execute_at": NOW},
    ]
    for change in changes:
        assert not new.but(**change).describes(task), change


def test_a_copy_is_checked_like_the_original() -> None:
    """By name, by pickle: none is anything that could not have been asked for."""
    new = NewTask(id=ID, kind="mail", execute_at=LATER)
    assert new.but(kind="fax") == NewTask(id=ID, kind="fax", execute_at=LATER)
    assert new.but() == copy.copy(new) == pickle.loads(pickle.dumps(new)) == new  # noqa: S301 - our own
    with pytest.raises(InvalidTask, match="priority"):
        new.but(priority=10)
    with pytest.raises(AttributeError):
        new.kind = "fax"  # type: ignore[misc]


@pytest.mark.parametrize("payload", [None, {"a": [1, "ü", None]}, [], "x", 1.5, True, 0])
def test_a_payload_is_an_object_in_and_out(payload: object) -> None:
    """Of a task that is asked for, of one that is stored, and of a lease."""
    new = NewTask(id=ID, kind="mail", payload=payload)
    task = Task.store(new, now=NOW)
    assert new.payload == task.payload == payload
    assert json.loads(new.payload_json) == payload
    assert new.but(payload={"b": 1}).payload_json == b'{"b":1}'
    assert new.but(priority=1).payload_json == new.payload_json
    assert pickle.loads(pickle.dumps(new)) == new  # noqa: S301 - our own


def test_who_changes_what_was_read_changes_no_task() -> None:
    """It is read anew each time."""
    task = Task.store(NewTask(id=ID, kind="mail", payload={"a": 1}), now=NOW)
    task.payload["a"] = 2
    assert (task.payload, task.payload_json) == ({"a": 1}, b'{"a":1}')


def test_json_text_is_kept_to_the_letter() -> None:
    """Whatever would be made of it."""
    text = b'{"a": 1.10, "a":  1e999}'
    new = NewTask(id=ID, kind="mail", payload_json=text)
    assert Task.store(new, now=NOW).edit(TaskEdit(priority=1), now=NOW).payload_json == text


@pytest.mark.parametrize("payload", [b"1", {1, 2}, float("nan"), "\ud800", object(), {"a": NOW}])
def test_what_is_no_payload_is_refused(payload: object) -> None:
    """In words, which say what to do instead."""
    with pytest.raises(InvalidTask, match="payload"):
        NewTask(id=ID, kind="mail", payload=payload)
    with pytest.raises(InvalidTask, match="not both"):
        NewTask(id=ID, kind="mail", payload=1, payload_json=b"2")


# -- verbs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "event"), list(itertools.product(TaskStatus, Event)))
def test_a_verb_follows_the_table(status: TaskStatus, event: Event) -> None:
    """It leads where the table says, or is refused; the task itself never changes."""
    task = task_in(status)
    before = replace(task)
    if (status, event) in TRANSITIONS:
        assert VERBS[event](task).status is TRANSITIONS[status, event]
    else:
        with pytest.raises(IllegalTransition):
            VERBS[event](task)
    assert task == before


@pytest.mark.parametrize(
    ("event", "attempt", "process_at"),
    [
        (Event.RETRY, 1, LATER + DELAY),
        (Event.SNOOZE, 0, LATER + DELAY),
        (Event.RELEASE, 0, LATER),
        (Event.RESCUE, 1, LATER),
    ],
)
def test_a_task_put_back_waits(event: Event, attempt: int, process_at: datetime) -> None:
    """It is nobody's; some attempts count and some do not."""
    task = VERBS[event](task_in(TaskStatus.IN_PROGRESS))
    assert (task.attempt, task.process_at) == (attempt, process_at)
    assert (task.worker_id, task.token, task.started_at) == (None, None, None)


def test_a_task_that_expired_had_no_attempt() -> None:
    """That which was drawn for it is given back."""
    task = VERBS[Event.EXPIRE](task_in(TaskStatus.IN_PROGRESS))
    assert (task.status, task.attempt) == (TaskStatus.FAILED, 0)
    assert (task.started_at, task.finished_at) == (None, LATER)
    assert (task.worker_id, task.token) == (None, None)


@pytest.mark.parametrize("event", [Event.COMPLETE, Event.FAIL, Event.CANCEL])
def test_a_task_that_ended_is_nobodys(event: Event) -> None:
    """When it began and ended is remembered."""
    task = VERBS[event](task_in(TaskStatus.IN_PROGRESS))
    assert (task.started_at, task.finished_at) == (NOW, LATER)
    assert (task.worker_id, task.token) == (None, None)


@pytest.mark.parametrize(
    ("own", "granted", "final"), [(None, 1, True), (None, 2, False), (1, 9, True), (2, 1, False)]
)
def test_a_rescue_of_the_last_attempt_fails(own: int | None, granted: int, *, final: bool) -> None:
    """The task's own number holds before the one granted."""
    task = task_in(TaskStatus.IN_PROGRESS, max_attempts=own)
    status = task.rescue(now=LATER, max_attempts=granted).status
    assert status is (TaskStatus.FAILED if final else TaskStatus.PENDING)


@pytest.mark.parametrize(
    ("own", "granted", "expected"), [(None, 1, 2), (None, 2, None), (1, 9, 2), (2, 1, 2)]
)
def test_a_revived_task_has_at_least_one_more_attempt(
    own: int | None, granted: int, expected: int | None
) -> None:
    """It starts from a clean slate otherwise."""
    task = task_in(TaskStatus.FAILED, max_attempts=own).revive(now=LATER, max_attempts=granted)
    assert task.max_attempts == expected
    assert (task.attempt, task.process_at) == (1, LATER)
    assert (task.started_at, task.finished_at) == (None, None)


@pytest.mark.parametrize("began", [True, False])
@pytest.mark.parametrize("at", [None, NOW, LATER, LATER + DELAY])
def test_a_cancelled_task_comes_back_to_the_time_that_was_asked_for(
    at: datetime | None, *, began: bool
) -> None:
    """Or to the one that is asked for now; never to an earlier one."""
    task = stored(execute_at=LATER + 2 * DELAY)
    if began:
        task = task.run_now(now=NOW).claim(worker_id=WorkerId(3), token=4, now=NOW)
    revived = task.cancel(now=NOW).revive(now=LATER, max_attempts=5, at=at)
    expected = LATER + 2 * DELAY if at is None else max(at, LATER)
    assert (revived.execute_at, revived.process_at) == (expected, expected)


def test_running_now_never_delays() -> None:
    """A task that is due keeps its place."""
    assert stored(execute_at=LATER + DELAY).run_now(now=LATER).process_at == LATER
    assert stored().run_now(now=LATER).process_at == NOW


def test_entities_are_frozen() -> None:
    """A verb returns the next one."""
    with pytest.raises(FrozenInstanceError):
        stored().attempt = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_no_attempt_comes_after_the_last_number() -> None:
    """No store counts further; a task that got there fails, and may be revived for one more."""
    last = replace(stored(), attempt=MAX_ATTEMPTS_LIMIT - 1, excused=MAX_ATTEMPTS_LIMIT - 5)
    claimed = last.claim(worker_id=WorkerId(1), token=7, now=NOW)
    assert claimed.attempt == MAX_ATTEMPTS_LIMIT
    for alone in (True, False):
        rescued = claimed.rescue(now=NOW, max_attempts=20, alone=alone)
        assert rescued.status is TaskStatus.FAILED
    released = claimed.rescue(now=NOW, max_attempts=20, alone=False, begun=False)
    assert (released.status, released.attempt) == (TaskStatus.PENDING, MAX_ATTEMPTS_LIMIT - 1)
    revived = claimed.fail(now=NOW).revive(now=NOW, max_attempts=20)
    again = revived.claim(worker_id=WorkerId(1), token=8, now=NOW)
    assert again.attempt == MAX_ATTEMPTS_LIMIT
    used = replace(stored(), attempt=MAX_ATTEMPTS_LIMIT, status=TaskStatus.FAILED)
    assert used.revive(now=NOW, max_attempts=20).max_attempts == MAX_ATTEMPTS_LIMIT
