"""What each role may do: the one that migrates owns the schema, those that serve and work do not.

A role that serves or works reads and writes rows, draws numbers and calls functions. It makes and
drops no tables, and cannot change what a function does. Workers run others' code, so the table of
keys is closed to theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple, cast

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres.database import (
    checked_schema,
    conninfo,
    first_line,
    translated,
)
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_BYTES_MAX: Final = 63
# Of what is made later, such as the tables of a new day, the owner gives as much by itself.
OF_EVERYBODY: Final = (
    "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
    "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC",
)
OF_A_ROLE: Final = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON {schema}.migration FROM {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
    """ALTER DEFAULT PRIVILEGES IN SCHEMA {schema}
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}""",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT EXECUTE ON FUNCTIONS TO {role}",
)
OF_A_WORKER: Final = ("REVOKE ALL ON {schema}.api_key FROM {role}",)


class Roles(NamedTuple):
    """Who is to be given rights; None where nobody is."""

    api: str | None = None
    worker: str | None = None


def grants(schema: str, roles: Roles) -> Sequence[sql.Composed]:
    """Return the statements that give ``roles`` their rights, to be run by the schema's owner.

    Raises:
        InvalidConfiguration: a name cannot be one.
    """
    found: list[tuple[str, str]] = [(each, "") for each in OF_EVERYBODY]
    for role, more in ((roles.api, ()), (roles.worker, OF_A_WORKER)):
        if role is not None:
            found += [(each, _checked(role)) for each in (*OF_A_ROLE, *more)]
    # One role that does both needs what the one of them needs.
    if roles.api == roles.worker:
        found = [(each, role) for each, role in found if each not in OF_A_WORKER]
    name = sql.Identifier(checked_schema(schema))
    return [
        sql.SQL(cast("LiteralString", text)).format(schema=name, role=sql.Identifier(role or "-"))
        for text, role in found
    ]


def grants_script(schema: str, roles: Roles) -> str:
    """Return the SQL that gives ``roles`` their rights, for whoever applies it by other means."""
    lines = [each.as_string() + ";" for each in grants(schema, roles)]
    return "\n".join(["BEGIN;", *lines, "COMMIT;"]) + "\n"


async def grant(url: str, schema: str, roles: Roles) -> None:
    """Give ``roles`` their rights on ``schema``.

    Raises:
        InvalidConfiguration: there is no such role, or whoever connects may not give rights.
        StoreUnavailable: the database cannot be reached.
    """
    statements = grants(schema, roles)
    with translated():
        async with (
            await psycopg.AsyncConnection.connect(
                conninfo(url), prepare_threshold=None
            ) as connection,
            connection.transaction(),
        ):
            try:
                for each in statements:
                    await connection.execute(each)
            except (
                psycopg.errors.UndefinedObject,
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.InvalidSchemaName,
                psycopg.errors.UndefinedTable,
            ) as error:
                message = f"rights on {schema!r} cannot be given: {first_line(error)}"
                raise InvalidConfiguration(message) from None


def _checked(role: str) -> str:
    if not 1 <= len(role.encode()) <= NAME_BYTES_MAX or not {"\0", "%"}.isdisjoint(role):
        message = f"{role!r} cannot name a role: 1 to {NAME_BYTES_MAX} bytes, without %"
        raise InvalidConfiguration(message)
    return role
