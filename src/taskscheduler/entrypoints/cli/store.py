"""Which database a command means."""

from __future__ import annotations

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.cli.options import DATA_DEFAULT, span
from taskscheduler.entrypoints.settings import URL_FILE
from taskscheduler.settings import WAKEUPS_DEFAULT, StoreSettings


def store_settings(
    url: str | None,
    schema: str,
    listen_url: str | None = None,
    pool_size: int = 10,
    unique_for: float = 86_400,
    wakeups: str = WAKEUPS_DEFAULT,
) -> StoreSettings:
    """Return the store of ``url``, or of the ``dev`` that runs in this folder.

    Raises:
        InvalidConfiguration: neither is there.
    """
    return StoreSettings(
        url=database_url(url),
        schema=schema,
        listen_url=listen_url,
        pool_size=pool_size,
        unique_for=span("--unique-for", unique_for),
        wakeups=wakeups,
    )


def database_url(url: str | None) -> str:
    """Return ``url``, or that of the ``dev`` that runs in this folder. Raises as above."""
    if url:
        return url
    running = url_of_running()
    if running is None:
        message = (
            "no database: give --database-url or set DATABASE_URL, "
            "or start `taskscheduler dev` in this folder"
        )
        raise InvalidConfiguration(message)
    return running


def url_of_running() -> str | None:
    """Return the database of the ``dev`` that runs in this folder, if one does."""
    try:
        return (DATA_DEFAULT / URL_FILE).read_text("utf-8").strip() or None
    except OSError:
        return None
