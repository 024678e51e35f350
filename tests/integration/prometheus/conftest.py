"""A real Prometheus. Where there is none these tests are left out; the report says so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import pytest

from tests.integration.conftest import free_port, located
from tests.integration.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
CONFIGURATION: Final = """\
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: taskscheduler
    static_configs: [{{targets: {targets}}}]
"""

PROMETHEUS: Final = located("prometheus")
if PROMETHEUS is None:
    collect_ignore_glob = ["test_*.py"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``promtool`` in ``deploy``."""
    assert PROMETHEUS is not None
    installed = shutil.which("promtool")
    command = [PROMETHEUS, "promtool"] if installed is None else [installed]
    return subprocess.run(
        [*command, *arguments], capture_output=True, check=False, cwd=DEPLOY, text=True, timeout=60
    )


class Answer(NamedTuple):
    """What an expression came to: each series' labels, and its value as text."""

    series: Sequence[tuple[dict[str, str], str]]

    @property
    def numbers(self) -> list[float]:
        """The values that are numbers."""
        return [float(value) for _, value in self.series if value != "NaN"]


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def query(self, expression: str) -> Answer:
        """Evaluate ``expression``; what cannot be parsed fails the test."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return Answer([(each["metric"], each["value"][1]) for each in found])

    def rules(self) -> list[dict[str, Any]]:
        """Return the alerts as it has loaded them."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def is_ready(self) -> bool:
        """Whether it answers yet."""
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Start:
    """Starts Prometheus; none outlives the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._running: Prometheus | None = None

    def __call__(self, *addresses: str) -> Prometheus:
        """Scrape ``http://…`` addresses, and load the alerts of ``deploy``."""
        assert PROMETHEUS is not None
        port = free_port()
        targets = [address.removeprefix("http://") for address in addresses]
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(rules=DEPLOY / "alerts.yml", targets=targets))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running = Prometheus(f"http://127.0.0.1:{port}")
        eventually(self._running.is_ready, "Prometheus")
        return self._running

    def stop(self) -> None:
        """End it."""
        if self._running is not None:
            self._running.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


@pytest.fixture
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a Prometheus once its targets are known."""
    start = Start(tmp_path_factory.mktemp("prometheus"))
    yield start
    start.stop()
