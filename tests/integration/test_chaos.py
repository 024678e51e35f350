"""A short run of every chaos scenario: each prints its table, and no promise is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "scenario", ["kills", "fires", "proxy", "postgres", "model", "clock", "fuzz"]
)
def test_no_promise_is_broken(scenario: str) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--short", "--only", scenario]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"--only {scenario}" in ran.stdout
