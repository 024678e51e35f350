"""API keys in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.rows import utc
from taskscheduler.domain.access import ApiKey, LivingKey, Scope
from taskscheduler.domain.errors import KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import NewKey

COLUMNS: Final = "id, name, digest, scope, queue_prefix, created_at, expires_at, revoked_at"

# An update that changes nothing returns the row, where DO NOTHING would return none.
ADD: Final = (
    """
INSERT INTO {schema}.api_key AS kept
    (id, name, digest, scope, queue_prefix, created_at, expires_at)
VALUES (%(id)s, %(name)s, %(digest)s, %(scope)s, %(queue_prefix)s, {schema}.clock(),
        coalesce(%(expires_at)s::timestamptz, {schema}.clock() + %(lives_for)s::interval))
ON CONFLICT (id) DO UPDATE SET id = kept.id RETURNING """
    + COLUMNS
)
REVOKE: Final = (
    """
UPDATE {schema}.api_key SET revoked_at = coalesce(revoked_at, {schema}.clock())
WHERE id = %(id)s RETURNING """
    + COLUMNS
)
LIST: Final = "SELECT " + COLUMNS + " FROM {schema}.api_key ORDER BY created_at DESC, id DESC"  # noqa: S608 - constants only
LIVING: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + """, expires_at - {schema}.clock() FROM {schema}.api_key
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {schema}.clock())"""
)


class PostgresKeyRing:
    """``KeyRing`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._add = database.sql(ADD)
        self._revoke = database.sql(REVOKE)
        self._list = database.sql(LIST)
        self._living = database.sql(LIVING)

    async def add(self, key: NewKey) -> ApiKey:
        """See ``KeyRing.add``."""
        moment = key.expires if isinstance(key.expires, datetime) else None
        values: dict[str, Any] = {
            "id": key.id,
            "name": key.name,
            "digest": key.digest,
            "scope": key.scope.value,
            "queue_prefix": key.queue_prefix,
            "expires_at": moment,
            "lives_for": None if moment is not None else key.expires,
        }
        (row,) = await self._rows(self._add, values)
        return key_of(row)

    async def revoke(self, key_id: str) -> ApiKey:
        """See ``KeyRing.revoke``."""
        rows = await self._rows(self._revoke, {"id": key_id})
        if not rows:
            raise KeyNotFound(key_id)
        return key_of(rows[0])

    async def list(self) -> Sequence[ApiKey]:
        """See ``KeyRing.list``."""
        return [key_of(row) for row in await self._rows(self._list)]

    async def living(self) -> Sequence[LivingKey]:
        """See ``KeyRing.living``."""
        return [LivingKey(key_of(row), row[8]) for row in await self._rows(self._living)]

    async def _rows(
        self, statement: bytes, values: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement, values)).fetchall()

        return await self._database.run(work)


def key_of(row: tuple[Any, ...]) -> ApiKey:
    """Return the key of a row of ``COLUMNS``."""
    return ApiKey(
        id=row[0],
        name=row[1],
        digest=bytes(row[2]),
        scope=Scope(row[3]),
        queue_prefix=row[4],
        created_at=row[5].astimezone(UTC),
        expires_at=utc(row[6]),
        revoked_at=utc(row[7]),
    )
