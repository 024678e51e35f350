"""Waiting for claims that had begun before something was changed that they are to go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from taskscheduler.adapters.postgres.database import Connection, Database

# Whose claims are under way: they hold their worker's row in share. The leases of one that has not
# beaten for a whole lease are over, and it knows: such a one is not waited for, it may be stopped.
CLAIMING: Final = """
SELECT w.id FROM {schema}.worker w
WHERE w.buried_at IS NULL AND w.seen_at + w.lease >= {schema}.clock()
  AND w.id <> ALL (ARRAY(SELECT f.id FROM {schema}.worker f FOR UPDATE SKIP LOCKED))"""
AWAIT_CLAIMS: Final = "SELECT {schema}.await_claims_1(%(worker_id)s::bigint)"


class ClaimsUnderWay:
    """The claims of all workers."""

    def __init__(self, database: Database) -> None:
        """Look into the registry of ``database``."""
        self._claiming = database.sql(CLAIMING)
        self._await_claims = database.sql(AWAIT_CLAIMS)

    async def wait(self, connection: Connection) -> None:
        """Wait until those have ended that had begun before now.

        One at a time, so that nobody is held up by whom we wait for.
        """
        claiming = await self._who_claims(connection)
        while claiming:
            ended = {each for each in claiming if await self._await_one(connection, each)}
            # Those that hold out are alive, or are not waited for any longer.
            left = claiming - ended
            claiming = left and left & await self._who_claims(connection)

    async def _who_claims(self, connection: Connection) -> set[int]:
        return {row[0] for row in await (await connection.execute(self._claiming)).fetchall()}

    async def _await_one(self, connection: Connection, worker_id: int) -> bool:
        """Wait a little for the claims of a worker; return whether they have ended."""
        try:
            await connection.execute(self._await_claims, {"worker_id": worker_id})
        except psycopg.errors.LockNotAvailable:
            return False
        return True
