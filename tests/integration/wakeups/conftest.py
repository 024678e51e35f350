"""A real RabbitMQ that can be stopped, started and paused, and an SQS in a process of its own.

RabbitMQ runs in a container where a Docker engine answers and has the image, and else as a process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import docker.errors
import pytest
from testcontainers.core.container import DockerContainer

from benchmarks.brokers import AWS, RabbitProcess, sqs_service, wait_for_amqp
from taskscheduler.container import migrate_schema
from tests.integration.conftest import docker_engine, free_port, provided

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

IMAGE_VARIABLE: Final = "TASKSCHEDULER_TEST_RABBITMQ_IMAGE"
DEFAULT_IMAGE: Final = "rabbitmq:4"
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
        process = RabbitProcess(provided("rabbitmq-server"), tmp_path_factory.mktemp("rabbitmq"))
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
    with sqs_service(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials that open nothing, where Amazon's tools look for them."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    return dict(AWS)
