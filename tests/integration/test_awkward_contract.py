"""The PostgreSQL store keeps the contract in a database of which every default is awkward."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from taskscheduler.testing.contracts import (
    ApiKeyRepositoryContract,
    ArchiveContract,
    AuditContract,
    BacklogStatsContract,
    KindCatalogueContract,
    NotesContract,
    QueueRegistryContract,
    ScheduleRepositoryContract,
    TaskReaderContract,
    TaskRepositoryContract,
    TransactionContract,
    WakeUpsContract,
    WorkerRegistryContract,
)
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler.application.store import Store


@pytest.fixture
def url(awkward_url: str) -> str:
    """The way straight to the database."""
    return awkward_url


@pytest.fixture
def schema(awkward_url: str) -> Iterator[str]:
    """A schema of its own, dropped although the default is to read only."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    with psycopg.connect(awkward_url, options="-c client_min_messages=warning") as connection:
        connection.read_only = False
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def clock(url: str, schema: str) -> Iterator[PostgresClock]:
    """A clock that the schema obeys."""
    with PostgresClock(url, schema) as clock:
        yield clock


@pytest.fixture
async def store(url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    """A store in a schema of its own."""
    async with postgres_store(url, schema, clock) as store:
        yield store


class TestTasks(TaskRepositoryContract, TransactionContract):
    """``PostgresTaskRepository``."""


class TestBoard(TaskReaderContract):
    """``PostgresTaskReader``."""


class TestWorkers(WorkerRegistryContract):
    """``PostgresWorkerRegistry``."""


class TestNotes(NotesContract):
    """``PostgresNotes``."""


class TestKinds(KindCatalogueContract):
    """``PostgresKindCatalogue``."""


class TestQueues(QueueRegistryContract):
    """``PostgresQueueRegistry``."""


class TestSchedules(ScheduleRepositoryContract):
    """``PostgresScheduleRepository``."""


class TestArchive(ArchiveContract):
    """``PostgresArchive``."""


class TestKeys(ApiKeyRepositoryContract):
    """``PostgresApiKeys``."""


class TestAudit(AuditContract):
    """What both write into the audit trail."""


class TestGauge(BacklogStatsContract):
    """``PostgresBacklogStats``."""


class TestWakeUps(WakeUpsContract):
    """``PostgresWakeUps``."""


class Pooled:
    """Behind PgBouncer, where a session cannot be given settings of its own."""

    @pytest.fixture
    def url(self, awkward_url: str, pgbouncer_url: str) -> str:
        """The way through PgBouncer."""
        return urlsplit(pgbouncer_url)._replace(path=urlsplit(awkward_url).path).geturl()


class TestPooledTasks(Pooled, TaskRepositoryContract, TransactionContract):
    """``PostgresTaskRepository``."""


class TestPooledBoard(Pooled, TaskReaderContract):
    """``PostgresTaskReader``."""


class TestPooledWorkers(Pooled, WorkerRegistryContract):
    """``PostgresWorkerRegistry``."""


class TestPooledSchedules(Pooled, ScheduleRepositoryContract):
    """``PostgresScheduleRepository``."""
