"""The distribution's name: where it is written, and that no line installs a stranger's package."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler.application import distribution
from taskscheduler.application.doctor import Severity, judge_package

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
WRITTEN: Final = {"", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ".service", ".txt"}
LEFT_OUT: Final = {
    ".bench",
    ".cache",
    ".clients",
    ".docs",
    ".docs-site",
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".taskscheduler",
    ".venv",
    "__pycache__",
    "node_modules",
}
INSTALLS: Final = re.compile(
    r"\b(?:pip3?|pipx|uv|poetry|pdm|conda|uvx)\b.*?\b(?:install|add|wheel|download|run|uvx)\b(.*)"
)
STRANGER: Final = re.compile(
    r"(?<![\w./@:-])[\"'`]?taskscheduler(?:-client)?(?:\[[^\]]*\])?(?=[\"'`\s=<>~!,;)]|$)",
    re.IGNORECASE,
)


def files() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        if path.is_file() and path.suffix in WRITTEN and LEFT_OUT.isdisjoint(inside):
            yield path


def lines_that_install(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if found := INSTALLS.search(line):
            yield found[1]


@pytest.mark.parametrize(
    "line",
    [
        "pip install taskscheduler",
        "pip install 'taskscheduler[otel]'",
        "pip install -U TaskScheduler==0.0.4",
        "`pip install taskscheduler-client`",
        "uv add taskscheduler",
        "python -m pip install --quiet taskscheduler psycopg",
        'bin/pip install --no-index "taskscheduler[$EXTRAS]"; \\',
    ],
)
def test_the_search_finds_what_it_is_for(line: str):
    assert any(STRANGER.search(each) for each in lines_that_install(line))


@pytest.mark.parametrize(
    "line",
    [
        "pip install 'durable-taskscheduler[otel]'",
        "pip install .",
        "/opt/taskscheduler/bin/pip install --no-cache-dir '/source[all]'",
        "pip wheel --wheel-dir deploy/wheelhouse '.[rabbitmq]'",
    ],
)
def test_the_search_lets_ours_pass(line: str):
    assert not any(STRANGER.search(each) for each in lines_that_install(line))


def test_no_line_installs_the_strangers_package():
    looked_at = list(files())
    assert ROOT / "README.md" in looked_at
    assert ROOT / "deploy" / "Dockerfile" in looked_at
    guilty = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in looked_at
        if path != Path(__file__) and path.name != "0031-a-name-to-install.md"
        for line in lines_that_install(path.read_text("utf-8", "replace"))
        if STRANGER.search(line)
    ]
    assert guilty == []


def test_the_first_screen_of_the_readme_says_how_to_install():
    first_screen = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:40])
    assert "pip install '.[all]'" in first_screen
    assert distribution.NAME in first_screen


def test_the_name_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == distribution.NAME
    assert list(project["scripts"]) == [distribution.COMMAND]
    extras = project["optional-dependencies"]
    every = {f"{distribution.NAME}[{','.join(sorted({*extras} - {'all', 'testing'}))}]"}
    assert set(extras["all"]) == every
    for extra in extras:
        assert distribution.install(extra) == f"pip install 'durable-taskscheduler[{extra}]'"


def fake(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_a_stranger_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    fake(tmp_path, "TaskScheduler", "0.0.4")
    assert distribution.stranger() == "0.0.4"
    finding = judge_package(distribution.NAME, "1.2.3", distribution.stranger())
    assert finding.verdict is Severity.WARN
    assert "pip uninstall taskscheduler" in finding.remedy
    assert distribution.NAME in finding.remedy


def test_an_early_copy_of_ours_is_no_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    script = "[console_scripts]\ntaskscheduler = taskscheduler.entrypoints.cli:main\n"
    fake(tmp_path, "taskscheduler", "0.0.9", script)
    assert distribution.stranger() is None


def test_alone_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert distribution.stranger() is None
    assert distribution.release() == distribution.UNKNOWN_RELEASE
    fake(tmp_path, "durable_taskscheduler", "1.2.3")
    assert distribution.release() == "1.2.3"
    assert judge_package(distribution.NAME, "1.2.3", None).verdict is Severity.OK
