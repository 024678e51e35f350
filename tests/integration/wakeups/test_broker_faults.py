"""A broker may die, hang, lie or never have been there: tasks are run all the same."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aio_pika
import pytest

from taskscheduler import Handlers, InvalidConfiguration, Scheduler, TaskId, TaskStatus, Worker
from taskscheduler.adapters.rabbitmq import RabbitWakeUps
from tests.integration.conftest import free_port
from tests.integration.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.processes import Programs
    from tests.integration.wakeups.conftest import Broker

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


async def until(look: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


class Bench:
    """A worker woken over a broker, and how many tasks it has run."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.ran = 0
        handlers = Handlers()

        @handlers.register("count")
        async def count(_: Any) -> None:
            self.ran += 1

        self.worker = Worker(scheduler, handlers, queues=["default"])

    async def works(self) -> None:
        """Check that a task is run."""
        before = self.ran
        await self.scheduler.schedule("count")
        await until(lambda: self.ran > before, "a task to be run")


async def test_the_broker_is_killed_and_comes_back_under_load(
    broker: Broker, url: str, schema: str
) -> None:
    async with Scheduler.postgres(url, schema=schema, wakeups=broker.url) as scheduler:
        bench = Bench(scheduler)
        running = asyncio.create_task(bench.worker.run())
        await until(lambda: bench.worker.id and bench.worker.degraded is None, "hearing")
        stored: list[TaskId] = []
        for round_ in range(20):
            for _ in range(20):
                stored.append(await scheduler.schedule("count"))  # noqa: PERF401
            if round_ == 5:
                await asyncio.to_thread(broker.stop)
            if round_ == 10:
                # Without the broker everything goes on, and it is seen.
                await until(lambda: bench.worker.degraded, "the loss to be noticed")
                await until(lambda: bench.ran == len(stored), "what was stored without the broker")
                assert scheduler.store.wakeups.hints.degraded is not None
                await asyncio.to_thread(broker.start)
        await until(lambda: bench.ran == len(stored), "every task to be run")
        await until(lambda: bench.worker.degraded is None, "it to heal")
        await bench.works()
        await until(lambda: scheduler.store.wakeups.hints.degraded is None, "ringing to heal")
        bench.worker.stop()
        await running
        assert bench.ran == len(stored) + 1


async def test_a_broker_that_hangs_holds_nobody_up(broker: Broker, url: str, schema: str) -> None:
    async with Scheduler.postgres(url, schema=schema, wakeups=broker.url) as scheduler:
        bench = Bench(scheduler)
        running = asyncio.create_task(bench.worker.run())
        await bench.works()
        await asyncio.to_thread(broker.pause)
        try:
            began = time.monotonic()
            for _ in range(10):
                await scheduler.schedule("count")
            assert time.monotonic() - began < 3, "storing waited for the broker"
            await until(lambda: bench.ran == 11, "tasks to be run by polling")
            await until(lambda: scheduler.store.wakeups.hints.degraded, "the silence to be noticed")
            bench.worker.stop()
            async with asyncio.timeout(PATIENCE_S):
                await running
        finally:
            await asyncio.to_thread(broker.go_on)


async def test_a_broker_that_was_never_there(url: str, schema: str) -> None:
    nowhere = f"amqp://test:test@127.0.0.1:{free_port()}/"
    async with Scheduler.postgres(url, schema=schema, wakeups=nowhere) as scheduler:
        bench = Bench(scheduler)
        running = asyncio.create_task(bench.worker.run())
        await bench.works()
        await until(lambda: bench.worker.degraded, "the loss to be noticed")
        bench.worker.stop()
        await running


async def test_lies_are_passed_over(broker: Broker) -> None:
    exchange = f"test-{uuid4().hex}"
    wakeups = RabbitWakeUps(broker.url, exchange=exchange)
    cancellations = 0

    def on_cancellation() -> None:
        nonlocal cancellations
        cancellations += 1

    async with (
        wakeups.opened(),
        wakeups.listen({"default"}, on_cancellation=on_cancellation) as listener,
        await aio_pika.connect(broker.url) as connection,
    ):
        await until(lambda: listener.degraded is None, "hearing")
        await listener.wait(0)
        channel = await connection.channel()
        liar = await channel.declare_exchange(exchange, aio_pika.ExchangeType.FANOUT)
        for body in (b"", b"\xff\xfe\x00", b"x" * 1_000_000, b"q", b'{"queues": ["default"]}'):
            await liar.publish(aio_pika.Message(body), routing_key="")
        for _ in range(3):
            await liar.publish(aio_pika.Message(b"qother,default"), routing_key="")
        assert await listener.wait(PATIENCE_S) is True
        assert listener.degraded is None
        assert cancellations == 0


@pytest.mark.parametrize(
    ("wakeups", "said"),
    [
        ("rabbitmq", "amqp://"),
        ("sqs", r"sqs\+https://"),
        ("sqs+https://", "https://host/account/queue"),
        ("sqs+https://[::1/1/q", "https://host/account/queue"),
        ("pigeons", "pigeons"),
        ("poll", "poll:"),
        ("", "postgres:"),
    ],
)
def test_what_is_no_way_is_refused(wakeups: str, said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=said):
        Scheduler.postgres("postgresql:///nowhere", wakeups=wakeups)


@pytest.mark.parametrize("wakeups", ["postgres://u:s3cr3t@h/", "ampq://u:s3cr3t@h/", "s3cr3t@x"])
def test_a_secret_in_what_is_refused_is_not_repeated(wakeups: str) -> None:
    with pytest.raises(InvalidConfiguration, match="expected the URL") as refused:
        Scheduler.postgres("postgresql:///nowhere", wakeups=wakeups)
    assert "s3cr3t" not in str(refused.value)


@pytest.fixture
def programs(tmp_path: Any, url: str, schema: str, aws: dict[str, str]) -> Iterator[Programs]:
    from tests.integration.processes import JOBS, Programs  # noqa: PLC0415

    env = {
        "DATABASE_URL": url,
        "TASKSCHEDULER_SCHEMA": schema,
        **aws,
    }
    with Programs(tmp_path, **env) as programs:
        programs.write("jobs.py", JOBS)
        yield programs


@pytest.mark.parametrize("by", ["rabbitmq", "sqs", "poll"])
async def test_the_programs_take_them_from_the_environment(
    programs: Programs, by: str, url: str, schema: str, broker: Broker, sqs_endpoint: str
) -> None:
    ways = {
        "rabbitmq": broker.url,
        "sqs": f"sqs+{sqs_endpoint}/123456789012/nowhere",
        "poll": "poll:",
    }
    env = {"TASKSCHEDULER_WAKEUPS": ways[by]}
    worker = programs.start("worker", "--app", "jobs:handlers", **env)
    async with Scheduler.postgres(url, schema=schema) as scheduler:
        task_id = await scheduler.schedule("Quick")
        await asyncio.to_thread(eventually, lambda: worker.lines("Quick"), "the task to be run")
        if by == "sqs":  # there is no such queue
            await asyncio.to_thread(worker.says, "polling goes on")
        await asyncio.to_thread(worker.stop)
        assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
    assert ("polling goes on" in worker.err.read_text()) == (by == "sqs")
