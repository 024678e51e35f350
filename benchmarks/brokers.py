"""RabbitMQ, and what stands for Amazon's SQS, each a process of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

READY_S: Final = 60.0
CONFIGURATION: Final = """\
listeners.tcp.default = 127.0.0.1:{port}
distribution.listener.interface = 127.0.0.1
default_user = test
default_pass = test
log.console = true
log.file = false
"""
GREETING: Final = b"AMQP\x00\x00\x09\x01"
AWS: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-central-1",
}
"""Credentials that open nothing, where Amazon's tools look for them."""


class NotReady(Exception):
    """It does not answer."""


class RabbitProcess:
    """A RabbitMQ that can be stopped, started and paused."""

    def __init__(self, program: str, folder: Path) -> None:
        """Keep everything in ``folder``."""
        port = free_port()
        (folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=port), "utf-8")
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
        """Begin, or begin again. Raises NotReady."""
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
        """End at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stand still, with every connection open."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


def wait_for_amqp(url: str) -> None:
    """Wait until whoever listens there speaks AMQP. Raises NotReady."""
    host, _, port = url.rpartition("@")[2].strip("/").partition(":")

    def speaks() -> bool:
        with socket.create_connection((host, int(port)), 2) as connection:
            connection.settimeout(5)
            connection.sendall(GREETING)
            return bool(connection.recv(1))

    _wait(speaks, f"RabbitMQ on {host}:{port}")


@contextmanager
def sqs_service(folder: Path) -> Generator[str]:
    """Run what stands for SQS, log into ``folder``, and yield its URL. Raises NotReady."""
    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        urllib.request.urlopen(url, timeout=2).close()
        return True

    try:
        _wait(answers, "moto")
        yield url
    finally:
        process.terminate()
        process.wait(READY_S)


def new_queue(endpoint: str) -> str:
    """Make a queue at what stands for SQS; return its URL."""
    client: Any = Session().create_client(
        "sqs",
        endpoint_url=endpoint,
        region_name=AWS["AWS_DEFAULT_REGION"],
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        url: str = client.create_queue(QueueName="hints")["QueueUrl"]
        return url
    finally:
        client.close()


def located(program: str) -> str | None:
    """Return the path of a program, if it is installed or ``.ci/unpack`` brought it."""
    places = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"))
    if (found := shutil.which(program, path=places)) is not None:
        return found
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ['HOME']}/.cache"
    unpacked = f"{cache}/taskscheduler/{program}/run"
    return unpacked if os.access(unpacked, os.X_OK) else None


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if look():
                return
        time.sleep(0.1)
    message = f"{what} does not answer"
    raise NotReady(message)
