"""Statements sent by libpq's own calls: what they answer, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres.fast_connection import PooledConnection, Statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ECHO = Statement.of(b"SELECT %(word)s::text, %(number)s::bigint, %(word)s::text AS again")
LENGTH = Statement.of(b"SELECT length(%(text)s::text), repeat('y', %(times)s::integer)")
NAP = Statement.of(b"SELECT pg_sleep(%(seconds)s::float8)")
DIVIDE = Statement.of(b"SELECT 1 / %(number)s::integer")
PREPARED = Statement.of(b"SELECT count(*)::integer FROM pg_prepared_statements")
NOTHING = Statement.of(b"CREATE TEMPORARY TABLE IF NOT EXISTS none ()")
HUGE = 20_000_000
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("prepared")) as postgres:
        yield postgres.url


@pytest.fixture
async def connection(url: str) -> AsyncGenerator[PooledConnection]:
    connection = await PooledConnection.connect(url, autocommit=True)
    yield connection
    await connection.close()


async def word(connection: PooledConnection, text: str | None) -> str | None:
    return (await connection.send(ECHO, {"word": text, "number": "1"}))[0][0]


def test_a_parameter_that_is_repeated_has_one_number() -> None:
    assert ECHO.text == b"SELECT $1::text, $2::bigint, $1::text AS again"
    assert ECHO.parameters == ("word", "number")


def test_names_differ_where_statements_do() -> None:
    assert (
        ECHO.name
        == Statement.of(b"SELECT %(word)s::text, %(number)s::bigint, %(word)s::text AS again").name
    )
    assert ECHO.name != NAP.name
    assert len(ECHO.name) < 64, "PostgreSQL cuts longer names"


async def test_rows_come_as_a_cursor_would_bring_them(connection: PooledConnection) -> None:
    for _ in range(3):
        rows = await connection.send(ECHO, {"word": "grüße", "number": "-7"})
        assert rows == [("grüße", -7, "grüße")]
    assert await connection.send(ECHO, {"word": None, "number": None}) == [(None, None, None)]


async def test_text_is_in_the_encoding_of_the_connection(url: str) -> None:
    encoded = make_conninfo(url, client_encoding="latin1")
    connection = await PooledConnection.connect(encoded, autocommit=True)
    assert await word(connection, "grüße") == "grüße"
    assert await connection.send(LENGTH, {"text": "ü", "times": "1"}) == [(1, "y")]
    await connection.close()


async def test_a_statement_without_rows_has_none(connection: PooledConnection) -> None:
    assert await connection.send(NOTHING, {}) == []


async def test_what_is_sent_once_gets_no_name(connection: PooledConnection) -> None:
    await word(connection, "once")
    assert await connection.send(PREPARED, {}) == [(0,)]
    for _ in range(3):
        await word(connection, "again")
    assert await connection.send(PREPARED, {}) == [(2,)], "this one, and ECHO"


async def test_behind_a_pooler_nothing_gets_a_name(connection: PooledConnection) -> None:
    connection.prepare_threshold = None
    for _ in range(3):
        assert await word(connection, "again") == "again"
    assert await connection.send(PREPARED, {}) == [(0,)]


async def test_more_than_the_socket_takes_at_once_goes_out_and_comes_back(
    connection: PooledConnection,
) -> None:
    for _ in range(2):
        rows = await connection.send(LENGTH, {"text": "x" * HUGE, "times": str(HUGE)})
        assert rows[0][0] == HUGE
        assert len(rows[0][1]) == HUGE


async def test_a_refusal_leaves_the_connection_as_it_was(connection: PooledConnection) -> None:
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.send(DIVIDE, {"number": "0"})
        assert await connection.send(DIVIDE, {"number": "1"}) == [(1,)]
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        await connection.send(DIVIDE, {"number": "one"})
    assert await word(connection, "on") == "on"


REFUSE_AT_COMMIT = """
CREATE TABLE guarded (id integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id < 0 THEN
        RAISE EXCEPTION 'not at the commit' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON guarded DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse()"""
GUARD = Statement.of(b"INSERT INTO guarded VALUES (%(id)s) RETURNING id")


async def test_a_refusal_that_comes_at_the_commit_is_raised(
    connection: PooledConnection,
) -> None:
    """As a second result, after the rows of a statement that seemed to have gone well."""
    await connection.execute(REFUSE_AT_COMMIT)
    for _ in range(3):  # unnamed, prepared, prepared before
        with pytest.raises(psycopg.errors.CheckViolation, match="not at the commit"):
            await connection.send(GUARD, {"id": "-1"})
        assert await connection.send(GUARD, {"id": "1"}) == [(1,)]
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("INSERT INTO guarded VALUES (-2) RETURNING id")
    rows = await (await connection.execute("SELECT DISTINCT id FROM guarded")).fetchall()
    assert rows == [(1,)]
    assert not connection.closed
    await connection.execute("DROP TABLE guarded; DROP FUNCTION refuse")


async def test_a_plan_that_became_stale_costs_the_connection(
    connection: PooledConnection, url: str
) -> None:
    """For the session would refuse it again and again."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await other.execute("CREATE TABLE made (a integer)")
        made = Statement.of(b"SELECT * FROM made")
        for _ in range(3):
            assert await connection.send(made, {}) == []
        await other.execute("ALTER TABLE made ADD b text")
        with pytest.raises(psycopg.NotSupportedError):
            await connection.send(made, {})
        assert connection.closed
        await other.execute("DROP TABLE made")


@pytest.mark.parametrize("within", [False, True])
async def test_names_that_somebody_deallocated_are_not_missed(
    connection: PooledConnection, *, within: bool
) -> None:
    """As the driver does after a rollback, once it has prepared something itself."""
    for number in range(3):
        assert await word(connection, str(number)) == str(number)
    for _ in range(7):
        await connection.execute("SELECT %s", [1])
    async with connection.transaction(force_rollback=True):
        await connection.execute("SELECT 1")
    await connection.execute("SELECT 2")
    assert await connection.send(PREPARED, {}) == [(0,)]
    if within:
        async with connection.transaction():
            assert await word(connection, "within") == "within"
            assert await word(connection, "again") == "again"
    for number in range(3):
        assert await word(connection, str(number)) == str(number)
    assert not connection.closed


async def test_who_misses_a_name_forgets_no_other(connection: PooledConnection) -> None:
    """One that the session was given anew since would be given a second time, and refused."""
    first, second = Statement.of(b"SELECT 1"), Statement.of(b"SELECT 2")
    for statement in (first, first, second):
        await connection.send(statement, {})
    await connection.execute("DEALLOCATE ALL")
    for statement, number in ((second, 2), (first, 1), (second, 2), (second, 2), (first, 1)):
        assert await connection.send(statement, {}) == [(number,)]
    assert await connection.send(PREPARED, {}) == [(2,)]
    assert not connection.closed


async def test_two_at_once_are_sent_one_after_the_other(connection: PooledConnection) -> None:
    words = [str(number) for number in range(20)]
    answers = asyncio.gather(*(word(connection, each) for each in words))
    row = await (await connection.execute("SELECT 'by a cursor'")).fetchone()
    assert row == ("by a cursor",)
    assert await answers == words


async def test_cursors_and_statements_take_turns(connection: PooledConnection) -> None:
    for number in range(3):
        assert await word(connection, str(number)) == str(number)
        async with connection.transaction():
            assert await word(connection, "within") == "within"
            row = await (await connection.execute("SELECT %s", [number])).fetchone()
            assert row == (number,)


async def test_who_waits_no_longer_gives_the_connection_up(connection: PooledConnection) -> None:
    await word(connection, "before")
    napping = asyncio.create_task(connection.send(NAP, {"seconds": "60"}))
    while connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
        await asyncio.sleep(0)
    napping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await napping
    assert connection.closed, "the next statement would read this one's answer"


async def test_a_server_that_hangs_is_waited_for_as_long_as_is_wanted(
    connection: PooledConnection,
) -> None:
    pid = connection.info.backend_pid
    await word(connection, "before")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await word(connection, "during")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert connection.closed


@pytest.mark.parametrize("used", [False, True])
async def test_a_backend_that_goes_during_a_statement_breaks_the_connection(
    connection: PooledConnection, url: str, *, used: bool
) -> None:
    if used:
        await word(connection, "before")
    napping = asyncio.create_task(connection.send(NAP, {"seconds": "60"}))
    while connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
        await asyncio.sleep(0)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        async with asyncio.timeout(PATIENCE_S):
            await napping
    assert connection.closed


WARNING = b"SWARNING\0VWARNING\0C57P02\0Mterminating connection because of a crash\0\0"


class Wire:
    """A way to a server that is cut as a crash cuts it: last words, and a reset with them."""

    def __init__(self, path: str) -> None:
        """Lead to the Unix socket at ``path``."""
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._cut = threading.Event()
        self._carrying = threading.Thread(target=self._carry, daemon=True)
        self._carrying.start()

    def _carry(self) -> None:
        self._client, _ = self._listener.accept()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(self._path)
        ways = {self._client: self._server, self._server: self._client}
        while not self._cut.is_set():
            for source in select.select([*ways], [], [], 0.01)[0]:
                ways[source].sendall(source.recv(65_536))

    def cut(self) -> None:
        """Return once both are on their way; the caller's event loop sees them at once."""
        self._cut.set()
        self._carrying.join()
        self._client.sendall(b"N" + struct.pack("!I", len(WARNING) + 4) + WARNING)
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for each in (self._client, self._server, self._listener):
            each.close()


@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})],
    ids=["uvloop", "asyncio"],
)
@pytest.mark.parametrize("during", [False, True])
async def test_last_words_do_not_hide_that_the_connection_is_reset(
    tmp_path: Path, *, during: bool
) -> None:
    """Of a socket that is broken uvloop tells once: the words are read then, and not the break."""
    with EmbeddedPostgres(tmp_path) as postgres:
        folder = conninfo_to_dict(postgres.url)["host"]
        wire = Wire(f"{folder}/.s.PGSQL.5432")
        plain = make_conninfo(postgres.url, sslmode="disable", gssencmode="disable")
        through = make_conninfo(plain, host="127.0.0.1", port=wire.port)
        connection = await PooledConnection.connect(through, autocommit=True)
        statement, values = (NAP, {"seconds": "60"}) if during else (PREPARED, {})
        sending = asyncio.create_task(connection.send(statement, values))
        await asyncio.sleep(0.1)  # for the wire to have carried it
        if not during:
            await sending
        wire.cut()
        if not during:
            await asyncio.sleep(0)
            sending = asyncio.create_task(connection.send(PREPARED, {}))
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(sending, PATIENCE_S)
        assert connection.closed


class Counting(PooledConnection):
    reads: int = 0

    def _read(self) -> None:
        self.reads += 1
        super()._read()


async def test_a_backend_that_goes_between_statements_is_noticed_without_a_busy_loop(
    url: str,
) -> None:
    connection = await Counting.connect(url, autocommit=True)
    await word(connection, "before")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    async with asyncio.timeout(PATIENCE_S):
        while connection.pgconn.status == psycopg.pq.ConnStatus.OK:
            await asyncio.sleep(0.001)
    seen = connection.reads
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert connection.reads == seen, "a socket at its end is always ready to be read"
    with pytest.raises(psycopg.OperationalError):
        await word(connection, "after")
    assert connection.closed


async def test_a_pool_replaces_what_was_given_up(url: str) -> None:
    async with AsyncConnectionPool(
        url,
        min_size=1,
        max_size=1,
        kwargs={"autocommit": True},
        connection_class=PooledConnection,
    ) as pool:
        async with pool.connection() as first:
            await word(first, "first")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await first.send(NAP, {"seconds": "60"})
        async with pool.connection() as second:
            assert second is not first
            assert await word(second, "second") == "second"
