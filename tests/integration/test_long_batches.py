"""A long batch is on its way for a while; what if the server hangs or goes in the middle of it?"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import psycopg
import pytest

from taskscheduler import Scheduler
from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres import database
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.application.client.task_batch import LazyBatch
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from taskscheduler.application.client.task_batch import TaskSpec

pytestmark = pytest.mark.anyio

NUMBER = 5_000
MIDDLE = 3_000
PAYLOAD = "x" * 2_000
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'taskscheduler'"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("long")) as postgres:
        yield postgres.url


def backends(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(BACKENDS).fetchall()]


class Disturbed(Sequence["TaskSpec"]):
    """Wishes, of which to look at the one in the middle disturbs the server, once."""

    def __init__(self, disturb: Callable[[], None]) -> None:
        self._disturb: Callable[[], None] | None = disturb

    def __len__(self) -> int:
        return NUMBER

    @overload
    def __getitem__(self, index: int) -> TaskSpec: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskSpec]: ...
    def __getitem__(self, index: int | slice) -> TaskSpec | list[TaskSpec]:
        if isinstance(index, slice):
            return [self[each] for each in range(NUMBER)[index]]
        if index >= NUMBER:
            raise IndexError
        if index == MIDDLE and self._disturb is not None:
            disturb, self._disturb = self._disturb, None
            disturb()
        return "mail", PAYLOAD


def disturbed(scheduler: Scheduler, disturb: Callable[[], None]) -> LazyBatch:
    return LazyBatch(Disturbed(disturb), scheduler.store.new_task_id)


async def test_a_server_that_hangs_is_given_up_and_nothing_is_stored(
    url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_TIMEOUT_S", 1.0)
    await migrate(url, schema)
    async with Scheduler.postgres(url, schema=schema) as scheduler:
        first = await scheduler.schedule("mail")
        stopped = backends(url)

        def hang() -> None:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

        batch = disturbed(scheduler, hang)
        try:
            with pytest.raises(StoreUnavailable):
                await scheduler.put_many(batch)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert [task.id for task in await scheduler.list()] == [first]
        # The same call once more, as a caller would who was told that the store is away.
        assert await scheduler.put_many(batch) == [task.id for task in batch]


async def test_a_connection_that_breaks_is_replaced_and_the_batch_stored_once(
    url: str, schema: str
) -> None:
    await migrate(url, schema)
    async with Scheduler.postgres(url, schema=schema) as scheduler:
        await scheduler.schedule("mail")

        def cut() -> None:
            for pid in backends(url):
                os.kill(pid, signal.SIGTERM)

        batch = disturbed(scheduler, cut)
        assert await scheduler.put_many(batch) == [task.id for task in batch]
    with psycopg.connect(url) as connection:
        count = f'SELECT count(*), count(DISTINCT id) FROM "{schema}".live'  # noqa: S608
        assert connection.execute(count.encode()).fetchone() == (NUMBER + 1, NUMBER + 1)
