"""The in-memory store keeps the contract."""

from __future__ import annotations

import pytest

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.store import Store
from taskscheduler.testing import ManualClock
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
    WakeUpsContract,
    WorkerRegistryContract,
)


@pytest.fixture
def clock() -> ManualClock:
    """A clock in the test's hands."""
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    """A new store in memory."""
    return memory_store(clock, new_task_id)


class TestTasks(TaskRepositoryContract):
    """``MemoryTaskRepository``; its transactions are none."""


class TestFollowers(FollowersContract):
    """``MemoryFollowers``."""


class TestBatches(BatchesContract):
    """``MemoryBatches``."""


class TestBoard(TaskReaderContract):
    """``MemoryTaskReader``."""


class TestWorkers(WorkerRegistryContract):
    """``MemoryWorkerRegistry``."""


class TestNotes(NotesContract):
    """``MemoryNotes``."""


class TestKinds(KindCatalogueContract):
    """``MemoryKindCatalogue``."""


class TestLimits(LimitRepositoryContract):
    """``MemoryLimits``, and claims."""


class TestQueues(QueueRegistryContract):
    """``MemoryQueueRegistry``."""


class TestSchedules(ScheduleRepositoryContract):
    """``MemoryScheduleRepository``."""


class TestArchive(ArchiveContract):
    """``MemoryArchive``."""


class TestKeys(ApiKeyRepositoryContract):
    """``MemoryApiKeys``."""


class TestAudit(AuditContract):
    """What both write into the audit trail."""


class TestGauge(BacklogStatsContract):
    """``MemoryBacklogStats``."""


class TestWakeUps(WakeUpsContract):
    """``MemoryWakeUps``."""
