"""What importing costs, and how the parts are put together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from dependency_injector import providers

import taskscheduler
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.container import Container, MemoryContainer
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.settings import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = (
    "asyncio",
    "psycopg",
    "psycopg_pool",
    "litestar",
    "dependency_injector",
    "uvicorn",
    "typer",
    "pytest",
)


def test_importing_loads_no_driver_and_no_framework() -> None:
    program = f"import sys, taskscheduler; print([m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]", output.stderr


def test_the_testing_package_needs_no_pytest_and_no_driver() -> None:
    heavy = ("pytest", "psycopg", "hypothesis")
    program = f"import sys, taskscheduler.testing; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]", output.stderr


def test_pytest_of_somebody_else_loads_next_to_nothing_of_ours(tmp_path: Path) -> None:
    """The plugin is found in every project that merely has the package installed."""
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    ours = sorted(m for m in sys.modules if m.split('.')[0] == 'taskscheduler')\n"
        "    print('OURS', *ours)\n"
        "    print('HEAVY', *[m for m in ('psycopg', 'litestar') if m in sys.modules])\n",
        "utf-8",
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_theirs.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    (ours,) = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("OURS")]
    assert "taskscheduler.testing.plugin" in ours, "found by itself"
    assert len(ours) < 5, ours
    assert "\nHEAVY\n" in run.stdout


def test_all_that_is_offered_is_there() -> None:
    for name in taskscheduler.__all__:
        assert getattr(taskscheduler, name) is not None
    assert list(taskscheduler.__all__) == sorted(taskscheduler.__all__)


NOWHERE = StoreSettings(url="postgresql://localhost/nowhere")


def built(container: Any) -> dict[str, object]:
    """Build every singleton of ``container``."""
    return {
        name: provider()
        for name, provider in container.providers.items()
        if isinstance(provider, providers.Singleton)
    }


@pytest.mark.parametrize(
    "container",
    [Container(settings=NOWHERE), MemoryContainer()],
    ids=["postgres", "memory"],
)
def test_everything_is_built_at_once(container: Any) -> None:
    """Nothing is a future, nothing is connected, nothing is built twice."""
    parts = built(container)
    assert parts
    assert not any(asyncio.isfuture(part) or asyncio.iscoroutine(part) for part in parts.values())
    assert isinstance(parts["scheduler"], Scheduler)
    assert parts["scheduler"].store is parts["store"]
    assert built(container) == parts


def test_a_container_without_an_address_says_so() -> None:
    with pytest.raises(Exception, match="settings"):
        Container().store()


@pytest.mark.parametrize("schema", ["", "pg_mine", "s" * 64, "a\0b", "per%sent", "ü" * 32])
def test_a_schema_that_cannot_be_named_is_refused(schema: str) -> None:
    with pytest.raises(InvalidConfiguration):
        taskscheduler.Scheduler.postgres("postgresql://localhost/x", schema=schema)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="URL"):
        taskscheduler.Scheduler.postgres("mysql://localhost/x")
