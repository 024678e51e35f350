"""What PostgreSQL's error codes mean to us: one table, which a test walks.

The driver sorts errors by whose fault they are. What matters here is another question: is what was
asked for at fault, or is the connection, the transaction or the server gone, so that the same
thing may go well on another connection or a moment later?
"""

from __future__ import annotations

from typing import Final

import psycopg

UNAVAILABLE: Final = {
    "08": "the connection is gone, or was never made",
    "0A000": "a prepared statement was made for a table that is another by now",
    "25": "the transaction is over, failed or read-only: by a timeout, or on a demoted server",
    "26": "a prepared statement is gone: the session is another one than before",
    "28": "the server does not let us in",
    "3B": "a savepoint is gone, and its transaction with it",
    "3D": "the database is not there",
    "40": "the transaction was undone: a deadlock, or others came first",
    "53": "the server has no room: memory, disk, connections, locks",
    "55": "something is in use or locked",
    "57": "the server stops, starts, or ended the session or the statement",
    "58": "the server's own disk or system fails",
    "72": "the transaction is too old for the server to go on with",
    "F0": "the server's own configuration fails",
    "XX000": "something that the statement speaks of went away while it was carried out",
}
"""Codes and classes of codes that are nobody's fault who asked; trying again may help."""

STALE: Final = ("0A000", "42", "XX000")
"""What a prepared statement may meet for ever, once what it speaks of was made anew."""

READ_ONLY: Final = "25006"


def is_unavailable(error: psycopg.Error) -> bool:
    """Tell whether ``error`` says that the store is away, rather than that the request is wrong."""
    code = error.sqlstate
    if code is None:  # the driver's own: the server said nothing any more
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return code in UNAVAILABLE or code[:2] in UNAVAILABLE


def is_stale(error: psycopg.Error) -> bool:
    """Tell whether ``error`` may come from a statement that was prepared for another schema."""
    code = error.sqlstate
    return code is not None and (code in STALE or code[:2] in STALE)
