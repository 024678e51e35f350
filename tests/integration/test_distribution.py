"""What is handed out: the sdist, the wheel that is built of it, and whether that works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import psycopg
import pytest

from taskscheduler.application.distribution import NAME
from tests.integration.processes import ADDRESS, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHOP: Final = (Path(__file__).with_name("typed_shop.py.txt")).read_text("utf-8")
FIRST_TEST: Final = """\
def test_fixtures_are_found(scheduler_in_memory, manual_clock):
    before = manual_clock.now()
    assert manual_clock.advance(days=3) > before
"""


class Fresh:
    """An environment with nothing of ours but the wheel; what that needs is lent to it."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        self.bin = folder / "env" / "bin"
        install = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        subprocess.run([*install, "-q", "--no-deps", "--no-index", wheel], check=True)
        (self.site,) = folder.glob("env/lib/python3*/site-packages")
        lent = Path(psycopg.__file__).parents[1]
        (self.site / "lent.pth").write_text(f"{lent}\n")

    def run(self, program: str, *arguments: str) -> str:
        command = [self.bin / program, *arguments]
        env = environment()
        ran = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index"]
    subprocess.run([*build, "--no-build-isolation", "-w", str(out), str(sdist)], check=True)
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh(tmp_path_factory.mktemp("fresh"), wheel)


def test_they_are_called_what_they_are(sdist: Path, wheel: Path):
    stem = f"{NAME.replace('-', '_')}-{PROJECT['version']}"
    assert sdist.name == f"{stem}.tar.gz"
    assert wheel.name == f"{stem}-py3-none-any.whl"


def test_the_sdist_has_what_a_build_needs_and_nothing_else(sdist: Path):
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    about = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert tops <= {"src", *about}
    assert {"src", "pyproject.toml", "README.md", "LICENSE"} <= tops


def test_the_wheel_has_every_file_of_the_package(wheel: Path):
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = archive.read(
            next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        ).decode()
    assert packed == ours
    assert "taskscheduler/py.typed" in packed
    assert "taskscheduler = taskscheduler.entrypoints.cli:main" in entry_points
    assert "taskscheduler = taskscheduler.testing.plugin" in entry_points


def test_the_command_is_the_wheels_and_knows_its_release(fresh: Fresh):
    where = fresh.run("python", "-c", "import taskscheduler; print(taskscheduler.__file__)")
    assert where.startswith(str(fresh.site))
    assert fresh.run("taskscheduler", "--version") == f"{NAME} {PROJECT['version']}\n"
    assert fresh.run("taskscheduler", "migrate", "--print").startswith("BEGIN;")


def test_its_fixtures_are_found_in_a_users_tests(fresh: Fresh):
    (fresh.folder / "test_first.py").write_text(FIRST_TEST)
    said = fresh.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_first.py")
    assert "1 passed" in said


def marked(source: str) -> set[int]:
    """Return the lines that say that they are wrong."""
    lines = enumerate(source.splitlines(), 1)
    return {number for number, line in lines if line.endswith("# wrong")}


def test_mypy_knows_our_types_in_a_users_file(fresh: Fresh):
    (fresh.folder / "shop.py").write_text(SHOP)
    python = ["--python-executable", fresh.bin / "python"]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *python, "shop.py"]
    ran = subprocess.run(command, cwd=fresh.folder, capture_output=True, check=False, text=True)
    found = {
        int(number) for number in re.findall(r"^shop\.py:(\d+): error", ran.stdout, re.MULTILINE)
    }
    assert found == marked(SHOP), ran.stdout + ran.stderr


def test_basedpyright_knows_our_types_in_a_users_file(fresh: Fresh):
    (fresh.folder / "shop.py").write_text(SHOP)
    settings = {"typeCheckingMode": "strict", "include": ["shop.py"]}
    (fresh.folder / "pyrightconfig.json").write_text(json.dumps(settings))
    program = Path(sys.executable).with_name("basedpyright")
    command = [program, "--outputjson", "--pythonpath", fresh.bin / "python"]
    ran = subprocess.run(command, cwd=fresh.folder, capture_output=True, check=False, text=True)
    diagnostics = json.loads(ran.stdout)["generalDiagnostics"]
    found = {each["range"]["start"]["line"] + 1 for each in diagnostics}
    assert found == marked(SHOP), [(each["range"], each["message"]) for each in diagnostics]


@pytest.fixture
def dev(fresh: Fresh) -> Iterator[str]:
    """Run all of it, as a newcomer does, and give its address."""
    said = fresh.folder / "said"
    with said.open("wb") as out:
        running = subprocess.Popen(
            [fresh.bin / "taskscheduler", "dev", "--port", "0"],
            cwd=fresh.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        found = eventually(
            lambda: ADDRESS.search(said.read_text()) or running.poll() is not None, said.read_text()
        )
        assert isinstance(found, re.Match), said.read_text()
        yield found[0]
    finally:
        running.terminate()
        assert running.wait(30) == 0, said.read_text()


def test_everything_runs_of_it(dev: str):
    with urlopen(f"{dev}/readyz") as answer:  # noqa: S310 - our own
        assert answer.status == 200
    with urlopen(f"{dev}/") as page:  # noqa: S310 - our own
        assert b"<title>" in page.read()
    with urlopen(f"{dev}/schema/openapi.json") as document:  # noqa: S310 - our own
        assert PROJECT["version"].encode() in document.read()
