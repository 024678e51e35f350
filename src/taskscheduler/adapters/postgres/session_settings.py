"""The settings that our statements count on, whatever the role's or the database's defaults are.

A default isolation above READ COMMITTED loses leases, a default of read-only or a style of other
dates breaks all that is sent: none of that is ours to choose for a database that others use, too.
So each session is given what it needs once. Behind a pooler a session is not ours to keep settings
in, and its defaults are looked at instead: where one is not as needed, every transaction asks for
all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import sql

from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    Connection = psycopg.AsyncConnection[tuple[Any, ...]]

NEEDED: Final[Mapping[str, str]] = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "array_nulls": "on",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "plan_cache_mode": "auto",
    "standard_conforming_strings": "on",
}
"""By name. How the client's text is encoded is said when the connection is made; see ``ENCODING``.

Of a date style only the first word matters: what is sent is year, month and day.
"""
ENCODING: Final = "UTF8"
"""What a connection asks for, and what a database must be kept in."""

LOOK: Final = (
    "SELECT pg_catalog.pg_backend_pid(), "
    + ", ".join(f"pg_catalog.current_setting('{name}')" for name in NEEDED)
).encode()
BEGIN: Final = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE"
"""Every explicit transaction of ours asks for these, for they cost nothing there."""


def assignments(how: str, names: Mapping[str, str]) -> bytes:
    """Return the statements that give each of ``names`` its value; ``how`` is SET's scope."""
    return b"; ".join(
        sql.SQL("SET {how} {name} = {value}")
        .format(how=sql.SQL(how), name=sql.Identifier(name), value=sql.Literal(value))  # pyright: ignore[reportArgumentType] - one of two constants
        .as_bytes(None)
        for name, value in names.items()
    )


FOR_THE_SESSION: Final = assignments("SESSION", NEEDED)
FOR_A_TRANSACTION: Final = assignments(
    "LOCAL",
    {name: NEEDED[name] for name in NEEDED if not name.startswith("default_transaction_")},
)


class Look(NamedTuple):
    """What a new connection turned out to be."""

    behind_pooler: bool
    awkward: Mapping[str, str]
    """The settings whose values are not as needed, and their values."""


async def look(connection: Connection) -> Look:
    """Look at a new connection."""
    row = await (await connection.execute(LOOK, prepare=False)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    pid, *values = row
    return Look(
        # A pooler hands out process numbers of its own, so the two differ exactly behind one.
        behind_pooler=pid != connection.info.backend_pid,
        awkward=awkward(dict(zip(NEEDED, values, strict=True))),
    )


def awkward(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return those of ``settings`` that are not as needed."""
    return {
        name: value
        for name, value in settings.items()
        if value.partition(",")[0].casefold() != NEEDED[name].casefold()
    }


def check_encoding(connection: Connection) -> None:
    """Refuse a database that cannot keep every text; payloads are kept to the letter.

    Raises:
        InvalidConfiguration: its encoding is another than UTF-8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        message = (
            f"the database is kept in {encoding}, which cannot hold every text; make one in "
            f"{ENCODING}: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
        raise InvalidConfiguration(message)
