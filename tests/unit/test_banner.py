"""What a worker says of itself when it starts: what it runs, and no secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskscheduler import Handlers
from taskscheduler.application.distribution import release
from taskscheduler.entrypoints.settings import WorkerSettings
from taskscheduler.entrypoints.worker.banner import banner
from taskscheduler.settings import StoreSettings


def store_at(url: str) -> StoreSettings:
    return StoreSettings(url=url, schema="shop")


SETTINGS = WorkerSettings(
    app="shop:handlers",
    queues=("mail", "default"),
    concurrency=7,
    lease=timedelta(seconds=30),
    poll_interval=timedelta(seconds=1),
    shutdown_timeout=timedelta(seconds=20),
    drain=False,
    bar_url="",
)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hush@db.example.org:5432/shop",
        "host=db.example.org dbname=shop user=ada password=hush",
        "postgresql://db.example.org/shop?user=ada&password=hush",
    ],
)
def test_it_names_what_matters_and_no_secret(url: str):
    handlers = Handlers()
    for kind in ("send", "count"):

        @handlers.register(kind)
        def run(context: object) -> None: ...

    said = banner(SETTINGS, handlers, store_at(url))
    for told in (
        f"taskscheduler {release()}",
        "app shop:handlers",
        "kinds count send",
        "queues default mail",
        "concurrency 7",
        "lease 30 s",
        "db.example.org",
        "schema shop",
    ):
        assert told in said
    assert "hush" not in said
    assert "\n" not in said
