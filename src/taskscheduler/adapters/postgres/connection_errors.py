"""Why no connection can be had, in one line, and whether waiting may help."""

from __future__ import annotations

import re
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from taskscheduler.adapters.postgres.fast_connection import PooledConnection
from taskscheduler.domain.errors import StoreRefused, StoreUnavailable
from taskscheduler.domain.redaction import redacted

BEGINNINGS: Final = (
    "connection failed: ",
    "connection is bad: ",
    "connection timeout expired",
    "failed to resolve host",
)
"""How the driver begins to speak of a connection that was never made."""
LASTING: Final = re.compile(
    r"authentication failed"  # the password, or what stands in its place
    r"|no password supplied"
    r"|\b(?:role|user|database) \S+ (?:does not exist|is not permitted to log in)"
    r"|no such (?:user|database)"  # PgBouncer's words
    r"|permission denied for database"
    r"|no pg_hba\.conf entry"
    r"|pg_hba\.conf rejects"
    r"|SS[LH] was required|SSL required|does not support SSL"
    r"|certificate verify failed|server certificate for|root certificate file|certificate file"
    r"|private key file"
    r"|invalid \w+ value"
)
"""What the same try will meet again. The server's words are known in English only: a refusal in
another language is waited out like a server that is away, and told of all the same.
"""
SEVERITY: Final = re.compile(r"\b(?:FATAL|ERROR): +")
LISTED: Final = re.compile(r"\n- host: .*?hostaddr: [^:]*: ", re.DOTALL)


def told(error: psycopg.Error) -> StoreUnavailable:
    """Return ``error`` as one of ours, in one line that names no query and no password.

    The driver quotes the part of a malformed address that it takes for a host or a port, and that
    can be a part of the password.
    """
    text = str(error).strip()
    if not text.startswith(BEGINNINGS):
        return StoreUnavailable(_line(text) or type(error).__name__)
    lasting = [LASTING.search(each) is not None for each in _attempts(text)]
    line = _line(text.removeprefix(BEGINNINGS[0]).removeprefix(BEGINNINGS[1]))
    if all(lasting):
        return StoreRefused(f"the database refuses the connection: {line}")
    return StoreUnavailable(f"the database cannot be reached: {line}")


def _attempts(text: str) -> list[str]:
    """Return what each address that was tried had to say."""
    first, *listed = LISTED.split(text)
    return listed or [first]


def _line(text: str) -> str:
    return redacted(SEVERITY.sub("", text.partition("\n")[0]))


class Refusals:
    """What became of the last try to connect; a pool itself tells only that it has waited."""

    def __init__(self, conninfo: str = "") -> None:
        """Nobody has tried yet to connect to ``conninfo``."""
        self._conninfo = conninfo
        self.last: psycopg.Error | None = None
        self.trying = 0

    def told(self) -> StoreUnavailable:
        """Return why a pool has no connection to give."""
        if self.last is not None:
            return told(self.last)
        if self.trying:
            given = conninfo_to_dict(self._conninfo)
            where = f"{given.get('host', 'this machine')}, port {given.get('port', 5432)},"
            message = f"the database cannot be reached: {where} does not answer"
            return StoreUnavailable(redacted(message))
        return StoreUnavailable("no connection to the database can be had")


class WatchedConnection(PooledConnection):
    """One of a pool's, whose making was watched."""

    @classmethod
    async def connect(  # pyright: ignore[reportIncompatibleMethodOverride] - the pool's own call
        cls, conninfo: str = "", *, refusals: Refusals, **kwargs: Any
    ) -> Self:
        """Connect as ever, and note what came of it."""
        refusals.trying += 1
        try:
            connection = await super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            refusals.last = error
            raise
        finally:
            refusals.trying -= 1
        refusals.last = None
        return connection
