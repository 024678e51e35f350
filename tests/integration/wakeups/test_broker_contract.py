"""RabbitMQ, SQS and plain polling keep the contract of wake-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.polling import PollingWakeUps
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.wakeups import PostgresWakeUps
from taskscheduler.adapters.rabbitmq import RabbitWakeUps
from taskscheduler.adapters.sqs import SqsWakeUps
from taskscheduler.adapters.system import new_task_id
from taskscheduler.testing import ManualClock
from taskscheduler.testing.contracts import (
    HearingContract,
    RingingContract,
    SilenceContract,
    WakeUpsContract,
)
from tests.integration.conftest import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.store import Store
    from taskscheduler.domain.ports.wakeups import WakeUps
    from tests.integration.wakeups.conftest import Broker


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class TestRabbit(WakeUpsContract):
    """``RabbitWakeUps``."""

    @pytest.fixture
    async def store(self, clock: ManualClock, broker: Broker) -> AsyncGenerator[Store]:
        wakeups = RabbitWakeUps(broker.url, exchange=f"test-{uuid4().hex}")
        store = memory_store(clock, new_task_id, wakeups=wakeups)
        async with store.opened():
            yield store


class TestSqs(HearingContract):
    """``SqsWakeUps``: one of all the listeners hears."""

    @pytest.fixture
    async def store(
        self, clock: ManualClock, sqs_endpoint: str, aws: dict[str, str]
    ) -> AsyncGenerator[Store]:
        client: Any = AioSession().create_client("sqs", endpoint_url=sqs_endpoint)
        async with client as sqs:
            queue = await sqs.create_queue(QueueName=f"test-{uuid4().hex}")
        wakeups = SqsWakeUps(queue["QueueUrl"])
        store = memory_store(clock, new_task_id, wakeups=wakeups)
        async with store.opened():
            yield store


class TestPolling(RingingContract):
    """``PollingWakeUps``: nobody hears, and that is as it was asked for."""

    @pytest.fixture
    async def store(self, clock: ManualClock) -> AsyncGenerator[Store]:
        store = memory_store(clock, new_task_id, wakeups=PollingWakeUps())
        async with store.opened():
            yield store


class TestRabbitAway(SilenceContract):
    """``RabbitWakeUps`` without a broker."""

    @pytest.fixture
    async def away(self) -> AsyncGenerator[WakeUps]:
        wakeups = RabbitWakeUps(f"amqp://test:test@127.0.0.1:{free_port()}/", exchange="test")
        async with wakeups.opened():
            yield wakeups


class TestSqsAway(SilenceContract):
    """``SqsWakeUps`` without a service."""

    @pytest.fixture
    async def away(self, aws: dict[str, str]) -> AsyncGenerator[WakeUps]:
        nowhere = f"http://127.0.0.1:{free_port()}"
        wakeups = SqsWakeUps(f"{nowhere}/123456789012/test")
        async with wakeups.opened():
            yield wakeups


class TestPostgresAway(SilenceContract):
    """``PostgresWakeUps`` without a server."""

    @pytest.fixture
    async def away(self) -> AsyncGenerator[WakeUps]:
        url = f"postgresql://test@127.0.0.1:{free_port()}/test"
        # Not opened: asked for a connection, its pool says at once that there is none.
        database = Database(url, schema="test", pool_size=1)
        wakeups = PostgresWakeUps(database, database)
        async with wakeups.opened():
            yield wakeups
