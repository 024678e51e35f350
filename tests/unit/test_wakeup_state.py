"""What a process tells of its wake-ups: in its metrics, and at /readyz."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taskscheduler import Handlers, Scheduler, Worker
from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.polling import PollingWakeUps
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.backoff import Backoff
from taskscheduler.application.wakeups.listener import WakeUpListener
from taskscheduler.application.wakeups.notifier import WakeUpNotifier
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.entrypoints.process import Process
from taskscheduler.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from taskscheduler.domain.ports.wakeups import WakeUps

pytestmark = pytest.mark.anyio

AWAY = OSError("connect to 192.0.2.1:5672 failed")


class Pigeons:
    """Wake-ups that fly, or do not."""

    by: str = "pigeons"

    def __init__(self) -> None:
        self.flying = True
        self.listener = WakeUpListener({"default"}, lambda: None, degraded="not listening yet")
        self._notifier = WakeUpNotifier(
            self._send, bytes_max=100, failures=(OSError,), every_s=0, backoff=Backoff(last_s=0)
        )

    async def _send(self, hint: str) -> None:
        if not self.flying:
            raise AWAY

    @property
    def hints(self) -> Any:
        return self._notifier.hints

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        yield
        await self._notifier.finish()

    def ring(self, queues: Collection[str]) -> None:
        self._notifier.ring(queues)

    def ring_cancellation(self) -> None:
        self._notifier.ring_cancellation()

    @asynccontextmanager
    async def listen(self, queues: Collection[str], **_: Any) -> AsyncGenerator[WakeUpListener]:
        yield self.listener


class Service:
    """An API, with a worker of its own or without, and what is asked of it."""

    def __init__(self, wakeups: WakeUps, *, works: bool = False) -> None:
        self.scheduler = Scheduler(memory_store(ManualClock(), new_task_id, wakeups=wakeups))
        self.worker = Worker(self.scheduler, Handlers()) if works else None
        process = Process(worker=self.worker)
        self.metrics = Metrics(self.scheduler.store, process)
        self._served: Any = create_app(self.scheduler, process=process, open_scheduler=False)

    async def ready(self) -> dict[str, Any]:
        transport = httpx.ASGITransport(self._served)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            answer = await client.get("/readyz")
        assert answer.status_code == 200
        assert "192.0.2.1" not in answer.text
        found: dict[str, Any] = answer.json()["wakeups"]
        assert datetime.now(UTC) - datetime.fromisoformat(found["since"]) < timedelta(minutes=1)
        return found

    async def told(self) -> dict[str, float]:
        lines = (await self.metrics.exposition()).decode().splitlines()
        found = [line.removeprefix("taskscheduler_wakeups_").split() for line in lines]
        return {each[0]: float(each[1]) for each in found if len(each) == 2}

    async def until(self, **wanted: float) -> None:
        async with asyncio.timeout(5):
            while not wanted.items() <= (await self.told()).items():
                await asyncio.sleep(0)


async def test_a_producer_tells_whether_its_hints_get_through() -> None:
    pigeons = Pigeons()
    process = Service(pigeons)
    async with process.scheduler:
        assert (await process.ready())["state"] == "untried"
        await process.scheduler.schedule("mail")
        await process.until(sending=1, sent_total=1, failed_total=0)
        connected = await process.ready()
        assert (connected["by"], connected["state"]) == ("pigeons", "connected")
        pigeons.flying = False
        await process.scheduler.schedule("mail")
        await process.until(sending=0, sent_total=1)
        polling = await process.ready()
        assert (polling["state"], polling["since"] > connected["since"]) == ("polling", True)
        assert "cannot be sent" in polling["reason"]
        assert (await process.told())["failed_total"] > 0
        pigeons.flying = True
        await process.until(sending=1, sent_total=2)
        assert (await process.ready())["state"] == "connected"


async def test_a_process_that_works_tells_whether_it_hears() -> None:
    pigeons = Pigeons()
    process = Service(pigeons, works=True)
    assert process.worker is not None
    async with process.scheduler:
        running = asyncio.create_task(process.worker.run())
        await process.until(listening=0, sending=1)
        async with asyncio.timeout(5):
            while process.worker.listener is None:
                await asyncio.sleep(0)
        polling = await process.ready()
        assert (polling["state"], "not heard" in polling["reason"]) == ("polling", True)
        pigeons.listener.become(None)
        await process.until(listening=1)
        assert (await process.ready())["state"] == "connected"
        pigeons.listener.become("they were shot")
        await process.until(listening=0)
        process.worker.stop()
        await running


async def test_polling_that_was_chosen_is_no_loss() -> None:
    process = Service(PollingWakeUps(), works=True)
    async with process.scheduler:
        await process.scheduler.schedule("mail")
        ready = await process.ready()
        assert (ready["by"], ready["state"]) == ("poll", "polling")
        assert "chosen" in ready["reason"]
        assert not {"listening", "sending"} & (await process.told()).keys()
