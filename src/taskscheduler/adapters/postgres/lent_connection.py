"""Connections that are lent to handlers, and forget each borrower before the next."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from taskscheduler.adapters.postgres.connection_errors import WatchedConnection
from taskscheduler.adapters.postgres.session_settings import FOR_THE_SESSION

FORGET: Final = (
    b"CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    b"SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES; "
    + FOR_THE_SESSION
)
"""What DISCARD ALL does, in one round trip together with what a session is given at first."""


class LentConnection(WatchedConnection):
    """One that is left as it was found, whatever its borrower did to the session and to it.

    Behind a pooler the session is not ours to tidy up: it may be another one by then. There a
    handler uses SET LOCAL and locks of a transaction, as everybody must.
    """

    behind_pooler: bool = False

    async def forget(self) -> None:
        """Be as new, between two borrowers.

        Raises:
            psycopg.Error: the connection is of no use any more.
        """
        self.row_factory = tuple_row
        self.cursor_factory = psycopg.AsyncCursor[tuple[Any, ...]]
        self.server_cursor_factory = psycopg.AsyncServerCursor[tuple[Any, ...]]
        self.prepare_threshold = None
        self._adapters = None
        self._notice_handlers.clear()
        self._notify_handlers.clear()
        if not self.autocommit:
            await self.set_autocommit(True)
        if not self.behind_pooler:
            await self.execute(FORGET)
