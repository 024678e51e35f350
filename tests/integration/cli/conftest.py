"""A folder to run programs in, and a database that they find by their environment."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from taskscheduler.container import migrate_schema
from taskscheduler.entrypoints import cli
from tests.integration.processes import JOBS, Programs, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Called(NamedTuple):
    """How a call of the program ended."""

    code: int
    out: str
    err: str


class Call(Protocol):
    """Calls the program within this process, which is quick."""

    def __call__(self, command: str | Sequence[str], **env: str) -> Called:
        """Call it with ``env`` in its environment; where no argument has a space, in one text."""
        ...


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """Call the program within this process; for calls that end at once."""

    def call(command: str | Sequence[str], **env: str) -> Called:
        arguments = command.split() if isinstance(command, str) else command
        monkeypatch.setattr(sys, "argv", ["taskscheduler", *arguments])
        monkeypatch.setattr("os.environ", environment(**env))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    handlers, level = logging.root.handlers[:], logging.root.level
    yield call
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Programs]:
    """Run programs that need no database."""
    with Programs(tmp_path) as programs:
        yield programs


@pytest.fixture
def unmigrated(tmp_path: Path, postgres_url: str, schema: str) -> Iterator[Programs]:
    """Run programs on a database without a schema."""
    chosen = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    with Programs(tmp_path, **chosen) as programs:
        yield programs


@pytest.fixture
def programs(unmigrated: Programs, postgres_url: str, schema: str) -> Programs:
    """Run programs on a migrated database; ``--app jobs:handlers`` finds handlers."""
    asyncio.run(migrate_schema(postgres_url, schema))
    unmigrated.write("jobs.py", JOBS)
    return unmigrated
