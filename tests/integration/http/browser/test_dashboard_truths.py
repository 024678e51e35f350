"""The dashboard says what is so, and offers what can be done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.integration.http.browser.test_dashboard_flows import LATER, press, status_of, stored
from tests.integration.processes import eventually

if TYPE_CHECKING:
    import httpx
    from playwright.sync_api import Page, Route

    from tests.integration.processes import Programs


def test_a_queue_is_called_open_where_somebody_takes_it(
    page: Page, service: str, client: httpx.Client, queue: str
):
    stored(client, queue=queue)
    stored(client, execute_at=LATER)
    page.goto(f"{service}/#/queues")
    row = page.get_by_role("row")
    expect(row.filter(has=page.get_by_role("link", name=queue))).to_contain_text("No worker")
    taken = row.filter(has=page.get_by_role("link", name="default", exact=True))
    expect(taken.get_by_text("Open", exact=True)).to_have_class("pill good")


def test_more_queues_than_a_page_are_not_cut_in_silence(
    page: Page, service: str, client: httpx.Client, queue: str
):
    for number in range(3):
        stored(client, queue=f"{queue}-{number}")

    def one_at_a_time(route: Route) -> None:
        route.continue_(url=route.request.url.replace("limit=1000", "limit=1"))

    page.route(re.compile(rf"^{re.escape(service)}/queues\?"), one_at_a_time)
    names = [each["name"] for each in client.get("/queues", params={"limit": 1000}).json()]
    last = client.get("/queues", params={"limit": 1, "cursor": names[-2]})
    assert "Link" not in last.headers
    page.goto(service)
    panel = page.locator(".panel").filter(has_text="These are the first 1 by name")
    expect(panel.get_by_role("link", name=names[0], exact=True)).to_be_visible()
    paused = page.locator(".tile").filter(has_text="queues paused")
    expect(paused.get_by_text(re.compile(r"^\d\+$"))).to_be_visible()
    panel.get_by_role("link", name="The queues after them").click()
    table = page.get_by_role("table", name="Queues")
    expect(table.get_by_role("link", name=names[1], exact=True)).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(table.get_by_role("link", name=names[2], exact=True)).to_be_visible()
    page.goto(f"{service}/#/queues?cursor={names[-2]}")
    expect(table.get_by_role("link", name=names[-1], exact=True)).to_be_visible()
    expect(page.get_by_text("This is the last page.")).to_be_visible()


def test_what_has_ended_has_no_next_attempt(page: Page, service: str, client: httpx.Client):
    task = stored(client, kind="Raise", max_attempts=2)
    eventually(lambda: status_of(client, task) == "Failed", "a failure")
    page.goto(f"{service}/#/tasks/{task}")
    expect(page.get_by_text("Finished", exact=True)).to_be_visible()
    expect(page.get_by_text("Next attempt at")).to_be_hidden()
    page.goto(f"{service}/#/tasks?kind=Raise&status=Failed")
    due = page.get_by_role("row").filter(has=page.get_by_title(task)).locator("[data-head=Due]")
    expect(due.locator("time")).to_have_count(0)


def test_what_runs_is_not_asked_why_it_does_not(
    page: Page, service: str, client: httpx.Client, programs: Programs, queue: str
):
    running, waiting = stored(client, kind="Gate"), stored(client, queue=queue)
    eventually(lambda: status_of(client, running) == "InProgress", "a task that runs")
    page.goto(f"{service}/#/tasks/{running}")
    expect(page.get_by_role("heading", name="Where does it run?")).to_be_visible()
    expect(page.get_by_text("Why is it not running?")).to_be_hidden()
    page.goto(f"{service}/#/tasks/{waiting}")
    expect(page.get_by_role("heading", name="Why is it not running?")).to_be_visible()
    client.post(f"/tasks/{running}/cancel")


@pytest.mark.parametrize("missing", [str(uuid4()), "no-id"])
def test_of_a_task_that_is_not_there_nothing_goes_on_loading(
    page: Page, service: str, missing: str
):
    page.goto(f"{service}/#/tasks/{missing}")
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page.locator(".loading:visible")).to_have_count(0)


def hold(route: Route) -> None:
    """Give no answer."""


def test_a_service_that_falls_silent_is_not_called_ready(page: Page, service: str):
    page.goto(service)
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    page.route(f"{service}/readyz", hold)
    expect(page.get_by_text("Does not answer")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Ready", exact=True)).to_be_hidden()
    page.unroute(f"{service}/readyz")
    expect(page.get_by_text("Ready", exact=True)).to_be_visible(timeout=20_000)


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        ("", ["Cancel", "Retry", "Delete"]),
        ("Completed", ["Delete"]),
        ("Failed", ["Retry", "Delete"]),
        ("Cancelled", ["Retry", "Delete"]),
        ("Pending", ["Cancel", "Delete"]),
        ("InProgress", ["Cancel", "Delete"]),
    ],
)
def test_only_what_the_status_allows_is_offered(
    page: Page, service: str, status: str, offered: list[str]
):
    page.goto(f"{service}/#/tasks?status={status}")
    group = page.get_by_role("group", name="All tasks that match")
    expect(group.get_by_role("button")).to_have_text([f"{verb} …" for verb in offered])


def test_of_what_is_selected_only_what_its_status_allows_is_offered(
    page: Page, service: str, client: httpx.Client, queue: str
):
    task = stored(client, queue=queue)
    page.goto(f"{service}/#/tasks?queue={queue}")
    page.get_by_label(f"Select task {task}").check()
    expect(page.get_by_role("button", name="Retry the selected tasks")).to_be_disabled()
    expect(page.get_by_role("button", name="Cancel the selected tasks")).to_be_enabled()


def test_who_changes_all_that_match_is_told_how_many_those_are(
    page: Page, service: str, client: httpx.Client, queue: str
):
    ids = [stored(client, queue=queue) for _ in range(3)]
    client.post(f"/tasks/{ids[0]}/cancel")
    page.goto(f"{service}/#/tasks?queue={queue}")
    for verb, many in (("Cancel", "2 tasks"), ("Retry", "1 task"), ("Delete", "3 tasks")):
        press(page, f"{verb} all tasks that match")
        expect(page.get_by_role("dialog")).to_contain_text(f"{many} at this moment")
        page.keyboard.press("Escape")
    more = [{"kind": "Quick", "queue": queue, "execute_at": LATER}] * 200
    assert client.post("/tasks/batch", json=more).status_code == 201
    press(page, "Delete all tasks that match")
    expect(page.get_by_role("dialog")).to_contain_text("at least 200 tasks")
