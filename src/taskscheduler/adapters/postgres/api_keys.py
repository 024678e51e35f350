"""API keys in PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.mapping import utc
from taskscheduler.domain.access import ActiveKey, ApiKey, Scope
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import KeyNotFound
from taskscheduler.domain.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller, NewKey

COLUMNS: Final = """id, name, digest, scope, queue_prefix, created_at, expires_at, revoked_at,
    queues_max, waiting_max, waiting_bytes_max, schedules_max"""

ADD: Final = (
    """
INSERT INTO {schema}.api_key
    (id, name, digest, scope, queue_prefix, created_at, expires_at, queues_max, waiting_max,
     waiting_bytes_max, schedules_max)
VALUES (%(id)s, %(name)s, %(digest)s, %(scope)s, %(queue_prefix)s, {schema}.clock(),
        coalesce(%(expires_at)s::timestamptz, {schema}.clock() + %(lives_for)s::interval),
        %(queues_max)s, %(waiting_max)s, %(waiting_bytes_max)s, %(schedules_max)s)
ON CONFLICT (id) DO NOTHING RETURNING """
    + COLUMNS
)
ONE: Final = "SELECT " + COLUMNS + " FROM {schema}.api_key WHERE id = %(id)s"  # noqa: S608
LIMIT: Final = (
    """
UPDATE {schema}.api_key SET queues_max = %(queues_max)s, waiting_max = %(waiting_max)s,
    waiting_bytes_max = %(waiting_bytes_max)s, schedules_max = %(schedules_max)s
WHERE id = %(id)s AND (queues_max, waiting_max, waiting_bytes_max, schedules_max) IS DISTINCT FROM
    (%(queues_max)s::bigint, %(waiting_max)s::bigint, %(waiting_bytes_max)s::bigint,
     %(schedules_max)s::bigint)
RETURNING """
    + COLUMNS
)
REVOKE: Final = (
    """
UPDATE {schema}.api_key SET revoked_at = {schema}.clock()
WHERE id = %(id)s AND revoked_at IS NULL RETURNING """
    + COLUMNS
)
LIST: Final = "SELECT " + COLUMNS + " FROM {schema}.api_key ORDER BY created_at DESC, id DESC"  # noqa: S608 - constants only
VALID: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + """, expires_at - {schema}.clock() FROM {schema}.api_key
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {schema}.clock())"""
)


class PostgresApiKeys:
    """``ApiKeyRepository`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._trail = Trail(database)
        self._one = database.sql(ONE)
        self._add = database.sql(ADD)
        self._limit = database.sql(LIMIT)
        self._revoke = database.sql(REVOKE)
        self._list = database.sql(LIST)
        self._valid = database.sql(VALID)

    async def add(self, key: NewKey, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.add``."""
        moment = key.expires if isinstance(key.expires, datetime) else None
        values: dict[str, Any] = {
            "id": key.id,
            "name": key.name,
            "digest": key.digest,
            "scope": key.scope.value,
            "queue_prefix": key.queue_prefix,
            "expires_at": moment,
            "lives_for": None if moment is not None else key.expires,
            **_limits(key.quota),
        }
        return await self._change(self._add, values, by, Action.KEY_ADDED)

    async def limit(self, key_id: str, quota: Quota | None, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.limit``."""
        values = {"id": key_id, **_limits(quota)}
        return await self._change(self._limit, values, by, Action.KEY_CHANGED)

    async def revoke(self, key_id: str, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.revoke``."""
        return await self._change(self._revoke, {"id": key_id}, by, Action.KEY_REVOKED)

    async def list(self) -> Sequence[ApiKey]:
        """See ``ApiKeyRepository.list``."""
        return [key_of(row) for row in await self._rows(self._list)]

    async def active(self) -> Sequence[ActiveKey]:
        """See ``ApiKeyRepository.active``."""
        return [ActiveKey(key_of(row), row[12]) for row in await self._rows(self._valid)]

    async def _change(
        self, statement: bytes, values: dict[str, Any], by: Caller | None, action: Action
    ) -> ApiKey:
        """Return the key as it is after ``statement``, which may find it so already."""

        async def work(connection: Connection) -> ApiKey:
            async with connection.transaction():
                row = await (await connection.execute(statement, values)).fetchone()
                if row is not None:
                    if by is not None:
                        await self._trail.record(connection, by, action, target=values["id"])
                    return key_of(row)
                row = await (await connection.execute(self._one, values)).fetchone()
                if row is None:
                    raise KeyNotFound(values["id"])
                return key_of(row)

        return await self._database.run(work)

    async def _rows(self, statement: bytes) -> list[tuple[Any, ...]]:
        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement)).fetchall()

        return await self._database.run(work)


def _limits(quota: Quota | None) -> dict[str, int | None]:
    """Return the columns of ``quota``."""
    return {f"{name}_max": limit for name, limit in asdict(quota or Quota()).items()}


def key_of(row: tuple[Any, ...]) -> ApiKey:
    """Return the key of a row of ``COLUMNS``."""
    queues, waiting, waiting_bytes, schedules = row[8:12]
    quota = Quota(queues=queues, waiting=waiting, waiting_bytes=waiting_bytes, schedules=schedules)
    return ApiKey(
        id=row[0],
        name=row[1],
        digest=bytes(row[2]),
        scope=Scope(row[3]),
        queue_prefix=row[4],
        created_at=row[5].astimezone(UTC),
        expires_at=utc(row[6]),
        revoked_at=utc(row[7]),
        quota=None if quota == Quota() else quota,
    )
