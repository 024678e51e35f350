"""A pytest plugin: testifies that the mutated copy was tested, and how it was found out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

import taskscheduler

FOLDER = "MUTANT_FOLDER"
INVALID = (
    AttributeError,
    ImportError,
    NameError,
    SyntaxError,
    psycopg.ProgrammingError,
)
"""Raised by a mutant that is not a wrong program but none at all."""

seen: dict[str, Any] = {"ran": 0, "failed": None, "why": "", "broken": False}


def pytest_sessionstart():
    mutated = Path(os.environ[FOLDER]) / "taskscheduler"
    imported = Path(taskscheduler.__file__).parent
    if imported != mutated:
        pytest.exit(f"{imported} was imported, not {mutated}", returncode=4)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]):
    report: pytest.TestReport = yield
    if report.when == "call":
        seen["ran"] += 1
    if report.failed and call.excinfo is not None and seen["failed"] is None:
        error = call.excinfo.value
        seen["why"] = f"{type(error).__name__}: {error}".partition("\n")[0]
        seen["broken"] = report.when != "call" or invalid(error)
        seen["failed"] = report.nodeid
    return report


def pytest_sessionfinish():
    (Path(os.environ[FOLDER]) / "verdict.json").write_text(json.dumps(seen))


def invalid(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, INVALID):
            return True
        error = error.__cause__ or error.__context__
    return False
