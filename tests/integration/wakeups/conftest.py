"""A real RabbitMQ that can be stopped, started and paused, and an SQS in a process of its own.

RabbitMQ runs in a container where a Docker engine answers and has the image, and else as a process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import docker.errors
import pytest
from testcontainers.core.container import DockerContainer

from taskscheduler.container import migrate_schema
from tests.integration.conftest import READY_SECONDS, docker_engine, free_port, provided

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

IMAGE_VARIABLE: Final = "TASKSCHEDULER_TEST_RABBITMQ_IMAGE"
DEFAULT_IMAGE: Final = "rabbitmq:4"
CONFIGURATION: Final = """\
listeners.tcp.default = 127.0.0.1:{port}
distribution.listener.interface = 127.0.0.1
default_user = test
default_pass = test
log.console = true
log.file = false
"""
broker_kind = pytest.StashKey[str]()


class Broker(Protocol):
    """A RabbitMQ under test."""

    url: str

    def start(self) -> None:
        """Begin, or begin again, with nothing remembered."""
        ...

    def stop(self) -> None:
        """End at once."""
        ...

    def pause(self) -> None:
        """Stand still, with every connection open."""
        ...

    def go_on(self) -> None:
        """Go on after ``pause``."""
        ...


class ContainedBroker:
    """RabbitMQ in a container."""

    def __init__(self, image: str) -> None:
        port = free_port()
        self._container: Any = (
            DockerContainer(image)
            .with_env("RABBITMQ_DEFAULT_USER", "test")
            .with_env("RABBITMQ_DEFAULT_PASS", "test")
            .with_bind_ports(5672, port)
        )
        self._container.start()
        # The gateway's address, from within a container; that of the loopback elsewhere.
        self.url = f"amqp://test:test@{self._container.get_container_host_ip()}:{port}/"

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        wait_for_amqp(self.url)

    def stop(self) -> None:
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def go_on(self) -> None:
        self._container.get_wrapped_container().unpause()

    def remove(self) -> None:
        self._container.stop()


class ProcessBroker:
    """RabbitMQ as a process of this machine."""

    def __init__(self, program: str, folder: Path) -> None:
        port = free_port()
        (folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=port))
        self.url = f"amqp://test:test@127.0.0.1:{port}/"
        self._program = program
        self._folder = folder
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_amqp(self.url)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


def wait_for_amqp(url: str) -> None:
    """Wait until whoever listens there speaks AMQP."""
    host, _, port = url.rpartition("@")[2].strip("/").partition(":")
    deadline = time.monotonic() + 2 * READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, int(port)), 2) as connection:
                connection.settimeout(5)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if connection.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"RabbitMQ does not answer on {host}:{port}")


@contextmanager
def contained() -> Generator[ContainedBroker | None]:
    """Run RabbitMQ in a container, where that can be had."""
    image = os.environ.get(IMAGE_VARIABLE, DEFAULT_IMAGE)
    engine = docker_engine()
    if engine is None:
        yield None
        return
    try:
        if not engine.images.list(name=image):
            engine.images.pull(image)
    except docker.errors.DockerException:
        if IMAGE_VARIABLE in os.environ:
            raise
        yield None
        return
    finally:
        engine.close()
    broker = ContainedBroker(image)
    try:
        wait_for_amqp(broker.url)
        yield broker
    finally:
        broker.remove()


@pytest.fixture
def url(postgres_url: str, schema: str) -> str:
    """A database with the schema."""
    asyncio.run(migrate_schema(postgres_url, schema))
    return postgres_url


@pytest.fixture(scope="session")
def session_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """Run one RabbitMQ for all tests."""
    with contained() as broker:
        if broker is not None:
            yield broker
            return
        print("RabbitMQ: a PROCESS of this machine, NOT a container", file=sys.__stderr__)
        process = ProcessBroker(provided("rabbitmq-server"), tmp_path_factory.mktemp("rabbitmq"))
        process.start()
        try:
            yield process
        finally:
            process.stop()


@pytest.fixture
def broker(session_broker: Broker) -> Iterator[Broker]:
    """A RabbitMQ that runs; a test that stops or pauses it leaves it running."""
    yield session_broker
    wait_for_amqp(session_broker.url)


@pytest.fixture(scope="session")
def sqs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an SQS in a process of its own."""
    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "moto does not answer"
                assert process.poll() is None, "moto ended"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials that open nothing, where Amazon's tools look for them."""
    values = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values
