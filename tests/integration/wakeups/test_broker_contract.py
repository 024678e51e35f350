"""RabbitMQ, SQS and plain polling keep the contract of wake-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.polling import PollingWakeUps
from taskscheduler.adapters.rabbitmq import RabbitWakeUps
from taskscheduler.adapters.sqs import SqsWakeUps
from taskscheduler.adapters.system import new_task_id
from taskscheduler.testing import ManualClock
from taskscheduler.testing.contracts import HearingContract, RingingContract, WakeUpsContract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.store import Store
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
        wakeups = SqsWakeUps(queue["QueueUrl"], endpoint_url=sqs_endpoint)
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
