"""Statements that every task pays for, sent by libpq's own calls instead of by a cursor.

A cursor adapts values, keeps its own accounts of prepared statements, and watches the socket by
objects that it makes anew each time: for a statement of one task that is more work than all the
rest. The statements in here know their values' types, so they bring them as PostgreSQL's text.

The connections are the pool's, and do all else by cursors as ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus

from taskscheduler.adapters.postgres.session_settings import BEGIN, FOR_A_TRANSACTION
from taskscheduler.adapters.postgres.sqlstates import is_stale

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from psycopg.abc import Params, Query
    from psycopg.pq.abc import PGresult

PARAMETER: Final = re.compile(rb"%\((\w+)\)s")
ANSWERS: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)
NEVER: Final = 2**31
"""How often a cursor executes a statement before it prepares it.

After a while a prepared statement gets a plan for all parameters, and one that is for any id opens,
and locks, the tables of all days. What gains by being prepared is a ``Statement``, or says so.
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the protocol takes it: its parameters by number, and their names in order."""

    name: bytes
    text: bytes
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, sql: bytes) -> Statement:
        """Number the parameters of ``sql``, which are written ``%(name)s`` and often repeated."""
        names = list(dict.fromkeys(name.decode() for name in PARAMETER.findall(sql)))
        text = PARAMETER.sub(lambda found: b"$%d" % (names.index(found[1].decode()) + 1), sql)
        digest = hashlib.blake2b(text, digest_size=8).hexdigest()
        return cls(f"taskscheduler_{digest}".encode(), text, tuple(names))


class PooledConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """One that can send a ``Statement``, too; in autocommit mode, and lent to one at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Be made by ``connect``."""
        super().__init__(*args, **kwargs)
        self.asks = False
        """Whether every transaction asks for the settings that it needs; see ``sessions``."""
        self._is_prepared: dict[bytes, bool] = {}
        self._watching: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._answered: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None

    async def send(
        self, statement: Statement, values: Mapping[str, str | None]
    ) -> list[tuple[Any, ...]]:
        """Execute ``statement``, prepared from the second time on, and return its rows.

        ``values`` are in PostgreSQL's text format. What is waited for in vain, or no longer, costs
        the connection: half an answer is of no use to the next statement. So does a refusal of the
        statement itself, which may have been prepared for a schema that is another by now.

        Raises:
            psycopg.Error: as a cursor's ``execute``.
        """
        if self._must_ask():
            async with self.transaction():
                return await self._send(statement, values)
        return await self._send(statement, values)

    async def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Execute ``query`` by a cursor. See ``psycopg.AsyncConnection.execute``."""
        if self._must_ask():
            async with self.transaction():
                return await self.execute(query, params, prepare=prepare, binary=binary)
        return await super().execute(
            query,  # pyright: ignore[reportArgumentType] - a template, too, as long as it is alone
            params,
            prepare=prepare,
            binary=binary,
        )

    @asynccontextmanager
    async def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 - as in the driver
    ) -> AsyncGenerator[psycopg.AsyncTransaction]:
        """Open a transaction, or a savepoint. See ``psycopg.AsyncConnection.transaction``."""
        must_ask = self._must_ask()
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if must_ask:
                await self.execute(FOR_A_TRANSACTION)
            yield transaction

    async def _send(
        self, statement: Statement, values: Mapping[str, str | None]
    ) -> list[tuple[Any, ...]]:
        encoding = self.info.encoding
        given = [
            None if (value := values[name]) is None else value.encode(encoding)
            for name in statement.parameters
        ]
        async with self.lock:  # that of the cursors, too
            try:
                result = await self._execute(statement, given)
            except psycopg.Error as error:
                if is_stale(error):
                    await self.close()
                raise
        return self._rows(result)

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for a cursor's statement. See ``psycopg.AsyncConnection.wait``."""
        self._unwatch()  # who waits there watches the socket in its own way
        return await super().wait(*args, **kwargs)

    async def close(self) -> None:
        """Close. See ``psycopg.AsyncConnection.close``."""
        self._unwatch()
        await super().close()

    def _must_ask(self) -> bool:
        return self.asks and self.pgconn.transaction_status == TransactionStatus.IDLE

    def _may_prepare(self) -> bool:
        # Behind a pooler the next statement may reach a session that knows no name, and within a
        # transaction nothing may fail that need not.
        return (
            self.prepare_threshold is not None
            and self.pgconn.transaction_status == TransactionStatus.IDLE
        )

    def _get_tx_start_command(self) -> bytes:
        """Return what begins a transaction of ours, whatever is set on the connection."""
        return BEGIN

    # -- one statement's way out, and its answer's way in ------------------------------------------

    async def _execute(self, statement: Statement, given: Sequence[bytes | None]) -> PGresult:
        pgconn, name = self.pgconn, statement.name
        # Once only is not worth a name.
        if name in self._is_prepared and self._may_prepare():
            try:
                if not self._is_prepared[name]:
                    await self._exchange(pgconn.send_prepare, name, statement.text)
                    self._is_prepared[name] = True
                send = partial(pgconn.send_query_prepared, name, given)
                return await self._exchange(send, result_format=Format.BINARY)
            except psycopg.errors.InvalidSqlStatementName:
                # Not executed. After a rollback the driver deallocates all that the session has;
                # others may have been given to it anew since, so this one alone is forgotten.
                self._is_prepared[name] = False
        self._is_prepared.setdefault(name, False)
        send = partial(pgconn.send_query_params, statement.text, given)
        return await self._exchange(send, result_format=Format.BINARY)

    async def _exchange(self, send: Callable[..., None], *args: Any, **kwargs: Any) -> PGresult:
        try:
            loop = self._watch()
            self._answered = loop.create_future()
            send(*args, **kwargs)
            if self.pgconn.flush() == 0:
                result = await self._answered
            else:
                result = await self._answered_when_written(loop, self._answered)
        except BaseException:
            await self.close()
            raise
        finally:
            self._answered = self._result = None
        if result.status not in ANSWERS:
            raise error_from_result(result, self.info.encoding)
        return result

    async def _answered_when_written(
        self, loop: asyncio.AbstractEventLoop, answered: asyncio.Future[PGresult]
    ) -> PGresult:
        socket = self.pgconn.socket

        def write() -> None:
            try:
                if self.pgconn.flush() == 0:
                    loop.remove_writer(socket)
            except psycopg.Error as error:
                self._fail(error)

        loop.add_writer(socket, write)
        try:
            return await answered
        finally:
            loop.remove_writer(socket)

    def _watch(self) -> asyncio.AbstractEventLoop:
        """Watch the socket from now on, between statements too: to begin anew costs six calls."""
        if self._watching is None:
            loop, socket = asyncio.get_running_loop(), self.pgconn.socket
            loop.add_reader(socket, self._read)
            self._watching = (loop, socket)
        return self._watching[0]

    def _unwatch(self) -> None:
        if self._watching is not None:
            loop, socket = self._watching  # a broken connection does not know its socket any more
            loop.remove_reader(socket)
            self._watching = None

    def _read(self) -> None:
        pgconn = self.pgconn
        try:
            pgconn.consume_input()
            # Without a statement under way it is a word from the server between two of them.
            while self._answered is not None and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if self._result is not None and not self._answered.done():
                        self._answered.set_result(self._result)
                    return
                # Read to the end, and the first error counts. One that the commit meets, such as a
                # deferred constraint's, comes as a second result, after the statement's own.
                if self._result is None or (
                    self._result.status in ANSWERS and result.status not in ANSWERS
                ):
                    self._result = result
        except psycopg.Error as error:
            self._fail(error)
        else:
            # There is more to come, or the end. Of a socket that is broken uvloop tells once, and
            # watches it no longer: what was read may have been the last words, not the break.
            self._unwatch()
            self._watch()

    def _fail(self, error: psycopg.Error) -> None:
        # Whoever is lent a broken connection next finds it so; a socket at its end never rests.
        self._unwatch()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    def _rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        if result.ntuples == 0:
            return []
        transformer = Transformer(self)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)
