"""The pages of the API documentation, in a real browser that reaches nobody but the service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Route


@pytest.mark.parametrize("path", ["/schema", "/schema/swagger", "/schema/scalar"])
def test_a_page_shows_the_calls_and_asks_nobody_else(browser: Browser, service: str, path: str):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    foreign: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def let_through(route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(service).netloc:
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.route("http*://**", let_through)
    page.goto(service + path)
    expect(page.get_by_text("Store a task; a worker runs it").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Is the process alive?").first).to_be_visible(timeout=20_000)
    context.close()
    assert not complaints
    assert not foreign
