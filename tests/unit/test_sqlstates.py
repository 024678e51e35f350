"""What PostgreSQL's error codes mean to us, code by code."""

from __future__ import annotations

from typing import Final

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

from taskscheduler.adapters.postgres.database import translated
from taskscheduler.adapters.postgres.sqlstates import UNAVAILABLE, is_stale, is_unavailable
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable

CODES: Final[dict[str, type[psycopg.Error]]] = {
    code: kind
    for code, kind in vars(errors)["_sqlcodes"].items()  # all that the driver knows
    if len(code) == 5 and code.isupper() | code.isdigit()
}
GONE: Final = {
    "connection broken": ("08000", "08003", "08006", "08P01"),
    "connection not made": ("08001", "08004", "28000", "28P01", "3D000", "53300", "57P03"),
    "session ended": ("57P01", "57P02", "57P04", "57P05", "25P03"),
    "transaction ended": ("25P02", "25P04", "25P01", "25000", "40001", "40P01", "40003", "08007"),
    "statement ended": ("57014", "55P03", "53100", "53200"),
    "standby": ("25006",),
    "prepared statement gone": ("26000", "0A000"),
}
OF_THE_REQUEST: Final = ("22", "23", "42", "44", "54", "P0")
SCHEMA: Final = ("42P01", "3F000")


@pytest.mark.parametrize("code", sorted(code for codes in GONE.values() for code in codes))
def test_what_is_gone_may_come_back(code: str) -> None:
    with pytest.raises(StoreUnavailable), translated():
        raise CODES[code]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_judged_by_the_table(code: str) -> None:
    error = CODES[code]("said by the server")
    assert error.sqlstate == code
    listed = code in UNAVAILABLE or code[:2] in UNAVAILABLE
    assert is_unavailable(error) is listed
    expected = SchemaMismatch if code in SCHEMA else StoreUnavailable if listed else type(error)
    with pytest.raises(expected) as raised, translated():
        raise error
    assert raised.type is expected


@pytest.mark.parametrize("code", sorted(c for c in CODES if c[:2] in OF_THE_REQUEST))
def test_what_the_request_is_to_blame_for_is_not_tried_again(code: str) -> None:
    assert not is_unavailable(CODES[code]())


def test_the_table_names_nothing_that_is_not_there() -> None:
    for code in UNAVAILABLE:
        assert any(each.startswith(code) for each in CODES), code


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        psycopg.InterfaceError("the connection is closed"),
        PoolTimeout(),
        PoolClosed(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_a_connection_that_breaks_without_a_word_is_gone(error: Exception) -> None:
    with pytest.raises(StoreUnavailable), translated():
        raise error


@pytest.mark.parametrize(
    "error", [psycopg.DataError("NUL"), psycopg.ProgrammingError("two statements")], ids=repr
)
def test_what_the_driver_refuses_is_left_alone(error: psycopg.Error) -> None:
    with pytest.raises(type(error)), translated():
        raise error


def test_only_what_may_be_prepared_for_another_schema_costs_the_connection() -> None:
    stale = {code for code in CODES if is_stale(CODES[code]())}
    assert {"0A000", "42P01", "42703", "42883", "XX000"} <= stale
    assert not stale & {"P0001", "22P02", "23505", "40001", "25006", "57P01"}
