"""The long-running commands are put together by one container, whose parts tests replace."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dependency_injector import providers

from taskscheduler import Context, Handlers, TaskStatus
from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.system import new_task_id
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.server import bind
from taskscheduler.entrypoints.process_container import ProcessContainer
from taskscheduler.entrypoints.settings import AccessMode, ApiSettings, WorkerSettings
from taskscheduler.settings import StoreSettings
from taskscheduler.testing import ManualClock

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

NOWHERE = StoreSettings(url="postgresql://u:s3cr3t@localhost/nowhere")
API = ApiSettings(
    host="127.0.0.1", port=0, accept_unknown_kinds=False, body_bytes_max=1024, access_log=False
)
WORKER = WorkerSettings(
    app=None,
    queues=("default",),
    concurrency=3,
    lease=timedelta(seconds=30),
    poll_interval=timedelta(seconds=1),
    shutdown_timeout=timedelta(seconds=1),
    drain=False,
    bar_url="",
)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as found:
        yield found


def handlers_of(ran: list[str]) -> Handlers:
    handlers = Handlers()

    @handlers.register("mail")
    def send(_: Context, to: str) -> None:
        ran.append(to)

    return handlers


async def test_a_process_in_which_everything_runs_on_another_store(
    listening: socket.socket,
) -> None:
    """The store and the clock are overridden; nothing is patched, and nothing is connected."""
    ran: list[str] = []
    clock = ManualClock()
    container = ProcessContainer(
        settings=NOWHERE,
        handlers=handlers_of(ran),
        api_settings=API,
        worker_settings=WORKER,
        socket=listening,
    )
    container.clock.override(providers.Object(clock))
    container.store.override(providers.Singleton(memory_store, container.clock, new_task_id))
    app: Any = container.app()
    scheduler, worker = container.scheduler(), container.worker()
    transport = httpx.ASGITransport(app)
    async with (
        scheduler,
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await scheduler.store.kinds.register({"mail": 1})
        later = (clock.now() + timedelta(seconds=5)).isoformat()
        task = {"kind": "mail", "payload": "ada", "execute_at": later}
        assert (await client.put("/tasks", json=task)).status_code == 201
        assert await worker.turn() == 0
        clock.advance(seconds=5)
        assert await worker.turn() == 1
        assert ran == ["ada"]
        (found,) = await scheduler.list()
        assert found.status is TaskStatus.COMPLETED
        shown = (await client.get("/metrics")).text
        assert 'taskscheduler_attempts_total{kind="mail",outcome="complete"} 1.0' in shown
        assert "taskscheduler_slots" in shown
        assert "taskscheduler_http_request_seconds" in shown


def test_each_part_is_built_once_and_shared(listening: socket.socket) -> None:
    container = ProcessContainer(
        settings=NOWHERE,
        handlers=Handlers(),
        api_settings=API,
        worker_settings=WORKER,
        socket=listening,
    )
    process = container.process()
    assert process.worker is container.worker()
    assert process.stats is container.stats() is not None
    assert process.requests is container.requests()
    assert process.listener is None
    assert container.server() is container.server()


def test_what_a_process_does_not_do_it_does_not_have(listening: socket.socket) -> None:
    api = ProcessContainer(
        settings=NOWHERE, handlers=Handlers(), api_settings=API, socket=listening
    )
    assert api.process().worker is None
    assert api.process().stats is None
    worker = ProcessContainer(settings=NOWHERE, handlers=Handlers(), worker_settings=WORKER)
    assert worker.process().requests is None
    assert worker.process().stats is None, "without a port nobody could look at it"


def test_options_that_contradict_are_refused_when_the_app_is_built() -> None:
    with bind("127.0.0.1", 0) as found:
        settings = ApiSettings(
            host="127.0.0.1",
            port=0,
            accept_unknown_kinds=False,
            body_bytes_max=1024,
            access=AccessMode.OPEN,
            rate_limit=5.0,
        )
        container = ProcessContainer(
            settings=NOWHERE, handlers=Handlers(), api_settings=settings, socket=found
        )
        with pytest.raises(InvalidConfiguration, match="--rate-limit"):
            container.app()


def test_settings_show_no_secret() -> None:
    assert "s3cr3t" not in repr(NOWHERE)


def test_a_worker_without_metrics_loads_no_web_framework() -> None:
    heavy = ("litestar", "uvicorn", "prometheus_client", "httpx")
    program = (
        "import sys; from taskscheduler.entrypoints.process_container import ProcessContainer; "
        "import taskscheduler.entrypoints.worker.main; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]", output.stderr
