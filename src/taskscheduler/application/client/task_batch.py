"""Many tasks, each made when somebody comes to it, and forgotten when that one has gone on."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

import msgspec

from taskscheduler.application.client.kind_names import kind_of
from taskscheduler.application.client.payloads import encode
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.ids import RecentIds
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.values import NO_PAYLOAD, QUEUE_DEFAULT, require_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from taskscheduler.application.store import Store
    from taskscheduler.domain.after import After
    from taskscheduler.domain.values import TaskId

Kind: TypeAlias = "str | Callable[..., Any]"
TaskSpec: TypeAlias = "NewTask | tuple[Kind, object] | tuple[Kind, object, datetime | None]"
"""A task, or its kind, its payload and perhaps its time. A kind is its name, or its function."""
IDS_AT_ONCE: Final = 10_000
"""So many take some milliseconds, in which the event loop waits."""
RING_AHEAD_S: Final = 10.0
"""Of tasks due later than this nobody is told: every worker looks again well before."""
_any_json: Final = msgspec.json.Decoder(msgspec.Raw)


class LazyBatch(Sequence[NewTask]):
    """The tasks that ``specs`` ask for.

    A store that begins with the first works on them while the last are still to be made. Of each
    only the id is kept, so that it is the same task whenever somebody comes to it again: thousands
    of objects that all stay would be walked through by the garbage collector again and again.
    Looking raises InvalidTask, with the index of the task at fault.
    """

    def __init__(self, specs: Sequence[TaskSpec], new_task_id: Callable[[], TaskId]) -> None:
        """Make nothing yet."""
        self._specs = specs
        self._new_task_id = new_task_id
        self._ids: list[TaskId] = []
        self._recent: RecentIds | None = None

    def __len__(self) -> int:
        """Return how many there are, made or not."""
        return len(self._specs)

    @overload
    def __getitem__(self, index: int) -> NewTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[NewTask]: ...
    def __getitem__(self, index: int | slice) -> NewTask | list[NewTask]:
        """Return one or some, and make all."""
        return list(self)[index]

    def __iter__(self) -> Iterator[NewTask]:
        """Make them one by one."""
        ids = self._ids
        for index, spec in enumerate(self._specs):
            if index == len(ids):
                self._make_ids(min(len(self._specs), index + IDS_AT_ONCE) - index)
            try:
                task = (
                    spec
                    if isinstance(spec, NewTask)
                    else NewTask(
                        id=ids[index],
                        execute_at=_time_in(spec),  # first: it knows what is no task
                        payload_json=(encoded := encode_payload(spec[1])),
                        kind=kind_of(spec[0], encoded),
                    )
                )
                if task is spec and task.payload_json != NO_PAYLOAD:
                    require_json(task.payload_json)
            except InvalidTask as error:
                error.index = index
                raise
            if task is spec:
                if self._recent is None:
                    self._recent = RecentIds(self._new_task_id())
                self._recent.check(task.id, index)
            yield task

    def _make_ids(self, number: int) -> None:
        """Make ids with the garbage collector away.

        They all stay, and it would walk through them, and through all else that the process has,
        every few thousand, and find nothing.
        """
        was_on = gc.isenabled()
        gc.disable()
        try:
            self._ids += [self._new_task_id() for _ in range(number)]
        finally:
            if was_on:
                gc.enable()

    def times(self) -> Iterator[tuple[str, datetime | None]]:
        """Return each one's queue and time, without making it."""
        for spec in self._specs:
            if isinstance(spec, NewTask):
                yield spec.queue, spec.execute_at
            else:
                yield QUEUE_DEFAULT, _time_in(spec)

    def waits(self) -> Iterator[NewTask]:
        """Return those that come after others, without making the rest."""
        return (s for s in self._specs if isinstance(s, NewTask) and s.after is not None)

    def deadlines(self) -> Iterator[tuple[int, datetime]]:
        """Return the place and the time of each that expires, without making the others."""
        for index, spec in enumerate(self._specs):
            if isinstance(spec, NewTask) and spec.expires_at is not None:
                yield index, spec.expires_at


def deadlines_of(tasks: Sequence[NewTask]) -> Iterator[tuple[int, datetime]]:
    """Return the place and the time of each of ``tasks`` that expires."""
    if isinstance(tasks, LazyBatch):
        return tasks.deadlines()
    return (
        (index, task.expires_at) for index, task in enumerate(tasks) if task.expires_at is not None
    )


def waits_of(tasks: Sequence[NewTask]) -> Mapping[TaskId, After]:
    """Return what those of ``tasks`` wait for that come after others."""
    waiting = tasks.waits() if isinstance(tasks, LazyBatch) else tasks
    return {task.id: task.after for task in waiting if task.after is not None}


def times_of(tasks: Iterable[NewTask]) -> Iterator[tuple[str, datetime | None]]:
    """Return the queue and time of each of ``tasks``."""
    if isinstance(tasks, LazyBatch):
        return tasks.times()
    return ((task.queue, task.execute_at) for task in tasks)


def _time_in(spec: tuple[Kind, object] | tuple[Kind, object, datetime | None]) -> datetime | None:
    """Return the time that a spec names, if it does. Raises InvalidTask: it is no spec."""
    if not isinstance(spec, (tuple, list)) or not 2 <= len(spec) <= 3:  # pyright: ignore[reportUnnecessaryIsInstance] # noqa: PLR2004 - not every caller is checked
        raise InvalidTask(
            "task",
            "must be what prepare returns, or (kind, payload), or (kind, payload, execute_at)",
        )
    return spec[2] if len(spec) == 3 else None  # noqa: PLR2004 - kind, payload, time


def time_after(delay: timedelta) -> datetime:
    """Return the time that lies ``delay`` after this process's now. Raises InvalidTask."""
    if not isinstance(delay, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance] - the same
        raise InvalidTask(
            "delay",
            f"must be a timedelta, such as timedelta(seconds=5), not {type(delay).__name__}",
        )
    try:
        return datetime.now(UTC) + delay
    except OverflowError:
        raise InvalidTask("delay", "leads to a time that no calendar has") from None


def encode_payload(payload: object) -> bytes:
    """Return ``payload`` as JSON text. Raises InvalidTask."""
    return encode(payload)


def text_of(options: Mapping[str, Any], payload: object) -> bytes:
    """Return the JSON text of ``payload``, or that which ``options`` have as ``payload_json``.

    Raises:
        InvalidTask: there is both, it is no JSON text, or the payload has no JSON form.
    """
    if "payload_json" not in options:
        return encode_payload(payload)
    if payload is not None or "payload" in options:
        raise InvalidTask("payload", "give payload or payload_json, not both")
    text: bytes = options["payload_json"]
    require_payload(text)
    require_json(text)
    return text


def require_json(text: bytes) -> None:
    """Check that ``text`` is JSON, whatever its numbers are. Raises InvalidTask."""
    try:
        _any_json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidTask("payload", f"is no JSON text: {error}") from error


async def require_time(store: Store, tasks: Sequence[NewTask]) -> None:
    """Check that those of ``tasks`` which expire can still begin, by the store's clock.

    The clock is asked only where there are any. Raises InvalidTask.
    """
    if deadlines := list(deadlines_of(tasks)):
        now = await store.schedules.now()
        for index, expires_at in deadlines:
            if expires_at <= now:
                place = None if len(tasks) == 1 else index
                raise InvalidTask("expires_at", "must be in the future", index=place)


def only_known(given: Collection[str], known: Collection[str]) -> None:
    """Check that every name in ``given`` is one of ``known``.

    Raises:
        TypeError: one is not; swallowed, a slip such as ``excute_at`` would do something else.
    """
    if unknown := set(given).difference(known):
        name = min(unknown)
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"{name!r} is no option here{hint}"
        raise TypeError(message)


def due_soon(times: Iterable[tuple[str, datetime | None]]) -> set[str]:
    """Return the queues in which something is due soon, by the queue and time of each task."""
    soon: datetime | None = None
    queues: set[str] = set()
    for queue, execute_at in times:
        if queue in queues:
            continue
        if execute_at is not None:
            soon = soon or datetime.now(UTC) + timedelta(seconds=RING_AHEAD_S)
            if execute_at > soon:
                continue
        queues.add(queue)
    return queues
