"""Clients that generators make of the served document work against the service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

CLIENTS: Final = Path(__file__).with_name("clients")
MODULES: Final = CLIENTS / "node_modules"
GENERATOR: Final = Path(__file__).parents[3] / ".clients" / "bin"
GENERATING_S: Final = 100
GOOD: Final = "all is as it should be\n"


@pytest.fixture
def document(service: str, tmp_path: Path) -> Path:
    """Fetch the document as the service serves it."""
    file = tmp_path / "openapi.json"
    file.write_bytes(httpx.get(f"{service}/schema/openapi.json").raise_for_status().content)
    return file


def run(*command: str | Path, folder: Path, **more: str) -> str:
    """Run a program that must succeed; return what it printed."""
    path = f"{GENERATOR}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": path} | more,
        text=True,
        timeout=GENERATING_S,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_a_python_client(service: str, document: Path, queue: str, tmp_path: Path):
    if not GENERATOR.is_dir():
        pytest.fail("the generator is not here: `make setup-test` brings it")
    target = tmp_path / "task_client"
    generate = ("generate", "--path", document, "--output-path", target, "--meta", "none")
    told = run(GENERATOR / "openapi-python-client", *generate, folder=tmp_path)
    assert "Warning" not in told, told
    use = CLIENTS / "use.py"
    printed = run(sys.executable, use, service, queue, folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert printed == GOOD


def test_a_typescript_client(service: str, document: Path, queue: str, tmp_path: Path):
    if not MODULES.is_dir():
        pytest.fail("the generator is not here: `make setup-test` brings it")
    (tmp_path / "node_modules").symlink_to(MODULES)
    for name in ("package.json", "tsconfig.json", "use.ts"):
        shutil.copy(CLIENTS / name, tmp_path)
    tools = MODULES / ".bin"
    run(tools / "openapi-typescript", document, "-o", "schema.d.ts", folder=tmp_path)
    run(tools / "tsc", "--project", tmp_path, folder=tmp_path)
    assert run("node", "built/use.js", service, queue, folder=tmp_path) == GOOD
