"""Joining a caller's own transaction: never beginning one that nobody else ends, nor ending one."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.array import ListBinaryDumper

from taskscheduler.domain.errors import InvalidTask, NotAConnection, NotInTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg.abc import Params

    Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Executing(Protocol):
    """What statements can be executed on: a connection of ours, or a caller's that was joined."""

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Execute ``query``. See ``psycopg.AsyncConnection.execute``."""
        ...


class Joined:
    """A caller's connection as our statements need it, whatever the caller's choices on it.

    Rows are tuples, parameters are named, and values go and come in binary where their text would
    depend on the session's settings, which are the caller's: the style of dates, what NULL means.
    """

    def __init__(self, connection: Connection) -> None:
        """Execute on ``connection``, whose transaction is open."""
        self._connection = connection

    async def execute(
        self, query: bytes, params: Params | None = None, *, prepare: bool | None = None
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Execute ``query``, unprepared: the caller's session is not ours to leave plans in."""
        del prepare
        cursor = psycopg.AsyncCursor(self._connection, row_factory=tuple_row)
        cursor.adapters.register_dumper(list, ListBinaryDumper)
        try:
            return await cursor.execute(query, params, prepare=False, binary=True)
        except UnicodeEncodeError as error:
            reason = (
                f"its client_encoding cannot carry the task's text ({error.encoding}); use UTF8"
            )
            raise InvalidTask("connection", reason) from None


@asynccontextmanager
async def joined(given: object) -> AsyncGenerator[Joined]:
    """Join the transaction of ``given``; what the block raises undoes the block alone.

    Where none is open and the driver begins one with the first statement, it does so now, and the
    caller ends it.

    Raises:
        NotAConnection: ``given`` is nothing that can be joined.
        NotInTransaction: it has no transaction that could be joined.
    """
    connection = await driver_connection(given)
    status = connection.pgconn.transaction_status
    if status == TransactionStatus.INERROR:
        message = "the connection's transaction has failed: roll it back before anything else"
        raise NotInTransaction(message)
    if status == TransactionStatus.IDLE:
        if connection.autocommit:
            message = (
                "the connection is in autocommit mode and no transaction is open on it: "
                "use `async with connection.transaction():`"
            )
            raise NotInTransaction(message)
        # The driver's own way into a transaction. Its context manager would commit at the end of
        # a block that finds none open.
        await Joined(connection).execute(b"SELECT")
    async with connection.transaction():  # a savepoint
        yield Joined(connection)


async def driver_connection(given: object) -> Connection:
    """Return the psycopg connection that ``given`` is, or that SQLAlchemy holds in it.

    Raises:
        NotAConnection: there is none.
    """
    found: Any = given
    if hasattr(found, "get_bind") and hasattr(found, "connection"):
        found = await awaited(found.connection())  # of an AsyncSession its AsyncConnection
    if hasattr(found, "get_raw_connection"):
        found = (await awaited(found.get_raw_connection())).driver_connection
    if not isinstance(found, psycopg.AsyncConnection):
        raise NotAConnection(type(given))
    connection: Connection = found  # pyright: ignore[reportUnknownVariableType] - rows are ours
    return connection


async def awaited(answer: Any) -> Any:
    """Return what ``answer`` comes to, where it is to be waited for."""
    return await answer if inspect.isawaitable(answer) else answer
