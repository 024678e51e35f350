"""The contract suites: what proves an adapter against the ports' docstrings.

Subclass each in a test module, with two fixtures beside or in the subclass::

    class TestTasks(TaskRepositoryContract):
        @pytest.fixture
        def clock(self) -> ManualClock: ...

        @pytest.fixture
        async def store(self, clock: ManualClock) -> AsyncGenerator[Store]: ...

``store`` is opened and empty, and its time is ``clock``'s. Unique keys live one day in it.
``SilenceContract`` wants ``away`` instead: ``WakeUps`` that are opened and reach nobody.
"""

from __future__ import annotations

from taskscheduler.testing.contracts.api_keys import ApiKeyRepositoryContract
from taskscheduler.testing.contracts.archive import ArchiveContract
from taskscheduler.testing.contracts.audit import AuditContract
from taskscheduler.testing.contracts.backlog import BacklogStatsContract
from taskscheduler.testing.contracts.batches import BatchesContract
from taskscheduler.testing.contracts.bulk import BulkContract
from taskscheduler.testing.contracts.changing import ChangingContract
from taskscheduler.testing.contracts.claiming import ClaimingContract
from taskscheduler.testing.contracts.editing import EditingContract
from taskscheduler.testing.contracts.followers import FollowersContract
from taskscheduler.testing.contracts.groups import GroupsContract
from taskscheduler.testing.contracts.idempotency import IdempotencyContract
from taskscheduler.testing.contracts.key_conflicts import KeyConflictsContract
from taskscheduler.testing.contracts.kinds import KindCatalogueContract
from taskscheduler.testing.contracts.lateness import LatenessContract
from taskscheduler.testing.contracts.limits import LimitRepositoryContract
from taskscheduler.testing.contracts.notes import NotesContract
from taskscheduler.testing.contracts.queue_position import QueuePositionContract
from taskscheduler.testing.contracts.queues import QueueRegistryContract
from taskscheduler.testing.contracts.reading import ListingContract
from taskscheduler.testing.contracts.schedules import ScheduleRepositoryContract
from taskscheduler.testing.contracts.settling import SettlingContract
from taskscheduler.testing.contracts.storing import StoringContract
from taskscheduler.testing.contracts.suspects import SuspectsContract
from taskscheduler.testing.contracts.tags import TagsContract
from taskscheduler.testing.contracts.traces import TracesContract
from taskscheduler.testing.contracts.transactions import TransactionContract
from taskscheduler.testing.contracts.unique_keys import UniqueKeyContract
from taskscheduler.testing.contracts.wakeups import (
    HearingContract,
    RingingContract,
    SilenceContract,
    WakeUpsContract,
)
from taskscheduler.testing.contracts.workers import BurialContract, MembershipContract

__all__ = [
    "ApiKeyRepositoryContract",
    "ArchiveContract",
    "AuditContract",
    "BacklogStatsContract",
    "BatchesContract",
    "FollowersContract",
    "HearingContract",
    "KindCatalogueContract",
    "LimitRepositoryContract",
    "NotesContract",
    "QueueRegistryContract",
    "RingingContract",
    "ScheduleRepositoryContract",
    "SilenceContract",
    "TaskReaderContract",
    "TaskRepositoryContract",
    "TransactionContract",
    "WakeUpsContract",
    "WorkerRegistryContract",
]


class TaskRepositoryContract(
    StoringContract,
    UniqueKeyContract,
    IdempotencyContract,
    ClaimingContract,
    LatenessContract,
    SettlingContract,
    ChangingContract,
    EditingContract,
    GroupsContract,
    BulkContract,
    SuspectsContract,
    TracesContract,
    TagsContract,
    KeyConflictsContract,
):
    """Proves a ``TaskRepository``; see ``TransactionContract`` for one with real transactions."""


class TaskReaderContract(ListingContract, QueuePositionContract):
    """Proves a ``TaskReader``."""


class WorkerRegistryContract(MembershipContract, BurialContract):
    """Proves a ``WorkerRegistry``."""
