"""The PostgreSQL store keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taskscheduler.testing.contracts import (
    ApiKeyRepositoryContract,
    ArchiveContract,
    AuditContract,
    BacklogStatsContract,
    BatchesContract,
    FollowersContract,
    KindCatalogueContract,
    LimitRepositoryContract,
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
def clock(any_postgres_url: str, schema: str) -> Iterator[PostgresClock]:
    """A clock that the schema obeys."""
    with PostgresClock(any_postgres_url, schema) as clock:
        yield clock


@pytest.fixture
async def store(any_postgres_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    """A store in a schema of its own."""
    async with postgres_store(any_postgres_url, schema, clock) as store:
        yield store


class TestTasks(TaskRepositoryContract, TransactionContract):
    """``PostgresTaskRepository``."""


class TestFollowers(FollowersContract):
    """``PostgresFollowers``."""


class TestBatches(BatchesContract):
    """``PostgresBatches``."""


class TestBoard(TaskReaderContract):
    """``PostgresTaskReader``."""


class TestWorkers(WorkerRegistryContract):
    """``PostgresWorkerRegistry``."""


class TestNotes(NotesContract):
    """``PostgresNotes``."""


class TestKinds(KindCatalogueContract):
    """``PostgresKindCatalogue``."""


class TestLimits(LimitRepositoryContract):
    """``PostgresLimits``, and claims."""


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
