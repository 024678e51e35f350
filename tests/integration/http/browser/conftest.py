"""A real browser. Where there is no Chromium these tests are left out; the report says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.integration.conftest import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

    from tests.integration.processes import Programs

CHROMIUM: Final = chromium()
if CHROMIUM is None:
    collect_ignore_glob = ["test_*.py"]

#: No helper of the browser's own may call anybody, and no account of a machine is needed.
ARGUMENTS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS: Final = 10_000
REFUSED: Final = "Failed to load resource: the server responded with a status of"
"""What the browser itself notes of every answer from 400 on, wanted or not."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, with a fresh profile; both are gone before other tests begin."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def closed_service(programs: Programs) -> Iterator[str]:
    """Give the address of a service that asks for keys."""
    api = programs.start("api", "--port", "0", "--access", "keys")
    yield api.address()
    api.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Give a page with nothing kept, which must neither complain nor call anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    hosts: set[str] = set()

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
            complaints.append(f"{message.type}: {message.text}")

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield page
    own = urlsplit(page.url).netloc
    context.close()
    assert not complaints
    assert hosts <= {own}
