"""A running service: ``taskscheduler api`` and a worker, each a process, on one database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.integration.processes import JOBS, Programs, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def programs(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Give a migrated schema and a folder, with handlers in it, to run programs in."""
    schema = f"test_{uuid4().hex[:16]}"
    folder = tmp_path_factory.mktemp("http")
    chosen = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    with Programs(folder, **chosen) as programs:
        programs.write("jobs.py", JOBS)
        programs.good("migrate")
        yield programs
    drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema))
    options = "-c lock_timeout=10s -c client_min_messages=warning"
    with psycopg.connect(postgres_url, autocommit=True, options=options) as connection:
        connection.execute(drop)


@pytest.fixture(scope="session")
def service(programs: Programs) -> Iterator[str]:
    """Give the address of a service whose worker runs the queue ``default``."""
    api = programs.start("api", "--port", "0")
    worker = programs.start("worker", "--app", "jobs:handlers")
    address = api.address()
    known = f"{address}/tasks?filter=kind:Gate"
    eventually(lambda: httpx.get(known).status_code == 200, "a worker's kinds")
    yield address
    worker.process.terminate()
    api.stop()
    for program in (api, worker):
        assert '"level": "error"' not in program.err.read_text(), program.story()


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    """Talk to the service."""
    with httpx.Client(base_url=service, timeout=30) as client:
        yield client


@pytest.fixture
def queue() -> str:
    """Name a queue that nobody works on: its tasks stay Pending, and are this test's alone."""
    return f"idle-{uuid4().hex[:12]}"
