"""Callers' own connections as our statements need them, whichever driver they are of.

The statements are the same for all: the text of them, the names of their parameters, and the types
of what goes in and comes out. So are the errors, which are psycopg's.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.array import ListBinaryDumper

from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.lanes import LaneGone
from taskscheduler.domain.errors import InvalidTask, NotInTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager

    from psycopg.abc import Params

    from taskscheduler.application.client.errands import InCallersThread

    AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
    Connection = psycopg.Connection[tuple[Any, ...]]

BEGIN: Final = b"SELECT"
"""A statement that does nothing, before which the driver begins a transaction where it does so."""
FAILED: Final = "the connection's transaction has failed: roll it back before anything else"
SAVEPOINT: Final = "SAVEPOINT taskscheduler"
RELEASE: Final = "RELEASE SAVEPOINT taskscheduler"
UNDO: Final = "ROLLBACK TO SAVEPOINT taskscheduler; RELEASE SAVEPOINT taskscheduler"


class State(Enum):
    """What a connection's transaction is like."""

    NONE = auto()
    OPEN = auto()
    FAILED = auto()


class Cursor(Protocol):
    """What a statement came to."""

    @property
    def rowcount(self) -> int:
        """How many rows it returned, or changed where it returns none."""
        ...

    async def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None where there is no more."""
        ...

    async def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        ...


class Executing(Protocol):
    """What statements can be executed on: a connection of ours, or a caller's that was joined."""

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> Cursor:
        """Execute ``query``. See ``psycopg.AsyncConnection.execute``."""
        ...


class Joinable(Executing, Protocol):
    """A caller's connection. What is executed is not prepared: the session is not ours."""

    @property
    def state(self) -> State:
        """What its transaction is like."""
        ...

    @property
    def autocommits(self) -> bool:
        """Whether the driver leaves it to the caller to begin a transaction."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Undo what the block did if it raises; within an open transaction."""
        ...


class Fetched:
    """A cursor whose rows are here."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], rowcount: int) -> None:
        """Give out ``rows``."""
        self._rows = iter(rows)
        self.rowcount = rowcount

    async def fetchone(self) -> tuple[Any, ...] | None:
        """See ``Cursor``."""
        return next(self._rows, None)

    async def fetchall(self) -> list[tuple[Any, ...]]:
        """See ``Cursor``."""
        return list(self._rows)


class PsycopgAwaited:
    """psycopg's, asynchronous, whatever the caller's choices on it.

    Rows are tuples, parameters are named, and values go and come in binary where their text would
    depend on the session's settings, which are the caller's: the style of dates, what NULL means.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        """Execute on ``connection``."""
        self._connection = connection

    @property
    def state(self) -> State:
        """See ``Joinable``."""
        return _state(self._connection)

    @property
    def autocommits(self) -> bool:
        """See ``Joinable``."""
        return self._connection.autocommit

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """See ``Joinable``."""
        return self._connection.transaction()

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> Cursor:
        """See ``Executing``."""
        del prepare
        cursor = psycopg.AsyncCursor(self._connection, row_factory=tuple_row)
        cursor.adapters.register_dumper(list, ListBinaryDumper)
        try:
            return await cursor.execute(query, params, prepare=False, binary=True)
        except UnicodeEncodeError as error:
            raise _cannot_carry(error) from None


class PsycopgBlocking:
    """psycopg's, blocking: each statement is an errand of the thread that it belongs to."""

    def __init__(self, connection: Connection, held: InCallersThread[Any]) -> None:
        """Execute on ``connection``, in the thread of ``held``."""
        self._connection = connection
        self._call = held.call

    @property
    def state(self) -> State:
        """See ``Joinable``."""
        return _state(self._connection)

    @property
    def autocommits(self) -> bool:
        """See ``Joinable``."""
        return self._connection.autocommit

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """See ``Joinable``."""
        opened = self._connection.transaction()
        await self._call(opened.__enter__)
        try:
            yield
        except BaseException as error:
            await self._call(opened.__exit__, type(error), error, error.__traceback__)
            raise
        await self._call(opened.__exit__, None, None, None)

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> Cursor:
        """See ``Executing``."""
        del prepare
        return await self._call(self._execute, query, params)

    def _execute(self, query: bytes, params: Params | None) -> Fetched:
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            cursor.adapters.register_dumper(list, ListBinaryDumper)
            try:
                cursor.execute(query, params, prepare=False, binary=True)
            except UnicodeEncodeError as error:
                raise _cannot_carry(error) from None
            rows = [] if cursor.description is None else cursor.fetchall()
            return Fetched(rows, cursor.rowcount)


class Asyncpg:
    """asyncpg's, or one of its pool. It prepares what it executes, unless it was told not to."""

    def __init__(self, connection: Any) -> None:
        """Execute on ``connection``."""
        self._connection = connection

    @property
    def state(self) -> State:
        """See ``Joinable``; one that failed is found out by the savepoint."""
        if self._connection.is_closed():
            message = "the connection is closed"
            raise psycopg.OperationalError(message)
        return State.OPEN if self._connection.is_in_transaction() else State.NONE

    @property
    def autocommits(self) -> bool:
        """See ``Joinable``."""
        return True

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """See ``Joinable``. Not by the driver's own, which joins none that it did not begin."""
        try:
            await self._send(self._connection.execute(SAVEPOINT))
        except psycopg.errors.InFailedSqlTransaction:
            raise NotInTransaction(FAILED) from None
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                await self._send(self._connection.execute(UNDO))
            raise
        await self._send(self._connection.execute(RELEASE))

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> Cursor:
        """See ``Executing``."""
        del prepare
        statement = _numbered(query)
        given: Any = params or {}
        values = [given[name] for name in statement.parameters]
        rows = await self._send(self._connection.fetch(statement.text.decode(), *values))
        return Fetched([tuple(map(_plain, row)) for row in rows], len(rows))

    async def _send(self, sending: Any) -> Any:
        try:
            return await sending
        except Exception as error:
            found = self._psycopgs(error)
            if found is None:
                raise
            raise found from error

    def _psycopgs(self, error: Exception) -> psycopg.Error | None:
        """Return what psycopg would have raised, if the server or the network is at fault."""
        code = getattr(error, "sqlstate", None)
        if isinstance(code, str):
            if getattr(error, "column_name", None) == "lane":
                return LaneGone(str(error))
            with suppress(KeyError):
                return psycopg.errors.lookup(code)(str(error))
            return psycopg.DatabaseError(str(error))
        if isinstance(error, OSError) or self._connection.is_closed():
            return psycopg.OperationalError(str(error) or "the connection is closed")
        return None


_numbered = lru_cache(maxsize=64)(Statement.of)


def _plain(value: Any) -> Any:
    """Return ids as Python's own, not as the driver's kind of them."""
    return UUID(int=value.int) if isinstance(value, UUID) else value


def _state(connection: psycopg.BaseConnection[Any]) -> State:
    match connection.pgconn.transaction_status:
        case TransactionStatus.IDLE:
            return State.NONE
        case TransactionStatus.INERROR:
            return State.FAILED
        case _:  # or broken, which the next statement says
            return State.OPEN


def _cannot_carry(error: UnicodeEncodeError) -> InvalidTask:
    reason = f"its client_encoding cannot carry the task's text ({error.encoding}); use UTF8"
    return InvalidTask("connection", reason)
