"""The tutorial, followed to the letter: its files and commands, and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler.adapters.embedded import EmbeddedPostgres
from tests.integration.processes import PROGRAM, Programs, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

TUTORIAL: Final = Path(__file__).parents[2] / "docs" / "tutorial"
BLOCK: Final = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
STATED: Final = "http://127.0.0.1:3000"


def blocks(page: str, title: str) -> list[str]:
    """Return the blocks of a page that have this title."""
    text = (TUTORIAL / page).read_text("utf-8")
    return [block for _, name, block in BLOCK.findall(text) if name == title]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with the tutorial's files; its database does not outlive the test."""
    for page in TUTORIAL.glob("*.md"):
        for language, name, block in BLOCK.findall(page.read_text("utf-8")):
            if language == "python":
                (tmp_path / name).write_text(block, "utf-8")
    yield tmp_path
    with suppress(OSError), EmbeddedPostgres(tmp_path / ".taskscheduler" / "postgres"):
        """A server that was left behind is adopted here, and stopped."""


def test_the_tutorial_works_as_it_is_printed(folder: Path):
    with Programs(folder) as programs:
        (start,) = blocks("index.md", "terminal 1")
        dev = programs.start(*start.split()[1:])
        address = dev.address()
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        variables = environment(PATH=path, PYTHONPATH=str(folder))

        def follow(page: str) -> None:
            for block in blocks(page, "terminal 2"):
                told = subprocess.run(
                    ["bash", "-euc", block.replace(STATED, address)],
                    cwd=folder,
                    env=variables,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                assert told.returncode == 0, f"{block}\n{told.stdout}\n{told.stderr}"

        follow("index.md")
        for line in ("1200 cents to ada@example.org", "500 cents to bob@example.org"):
            eventually(lambda line=line: dev.lines(line), line)
        assert not dev.lines("9 cents to eve"), "an hour has not passed"
        (url,) = re.findall(r"^ +database +(postgresql:\S+)$", dev.out.read_text(), re.MULTILINE)
        order = subprocess.run(
            [sys.executable, "order.py"],
            cwd=folder,
            env={**variables, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert order.stdout == "sent\n", order.stderr
        follow("schedules.md")


def test_the_tutorials_test_passes(folder: Path):
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stdout
    assert "1 passed" in told.stdout
