"""What people do with the dashboard, in a real browser on a real service."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.integration.processes import Programs, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

HOSTILE: Final = "<img src=x onerror=alert(1)>"
LONG_NUMBER: Final = "12345678901234567890"
LATER: Final = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def stored(client: httpx.Client, **fields: Any) -> str:
    """Store a task; return its id."""
    answer = client.put("/tasks", json={"kind": "Quick", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def status_of(client: httpx.Client, task_id: str) -> str:
    """Return the task's status as it is now."""
    return client.get(f"/tasks/{task_id}").json()["status"]


def token_in(printed: str) -> str:
    """Return the token that ``keys add`` printed."""
    found = re.search(r"tsk_\w+", printed)
    assert found is not None
    return found[0]


def press(page: Page, name: str) -> None:
    """Press the button that is called exactly so."""
    page.get_by_role("button", name=name, exact=True).click()


def test_the_overview_shows_what_waits_who_works_and_what_failed(
    page: Page, service: str, client: httpx.Client, queue: str
):
    for _ in range(3):
        stored(client, queue=queue)
    failed = stored(client, kind="Raise", max_attempts=1)
    eventually(lambda: status_of(client, failed) == "Failed", "a failure")
    page.goto(service)
    expect(page).to_have_title("Overview · taskscheduler")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=queue))
    expect(row.get_by_role("cell")).to_contain_text(
        [queue, "3", "0", "0", "ago", "No worker", "Pause"]
    )
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    expect(page.get_by_text("1 alive")).to_be_visible()
    panel = page.locator(".panel").filter(has_text="Failed tasks, the last stored first")
    expect(panel.get_by_role("row").filter(has=page.get_by_title(failed))).to_contain_text(
        "RuntimeError: it did not work"
    )
    page.get_by_title(failed).click()
    expect(page.get_by_text("RuntimeError: it did not work").first).to_be_visible()
    expect(page.get_by_text("raise RuntimeError")).to_be_hidden()
    page.get_by_text("Traceback", exact=True).click()
    expect(page.get_by_text("raise RuntimeError")).to_be_visible()


def test_a_queue_is_paused_and_resumed(page: Page, service: str, client: httpx.Client, queue: str):
    task = stored(client, queue=queue)
    page.goto(f"{service}/#/queues")
    press(page, f"Pause {queue}")
    expect(page.get_by_role("status")).to_contain_text(f"Queue {queue}: paused.")
    assert client.get(f"/queues/{queue}").json()["paused"] is True
    page.goto(f"{service}/#/tasks/{task}")
    expect(page.get_by_text("Queue paused")).to_be_visible()
    page.goto(f"{service}/#/queues")
    press(page, f"Resume {queue}")
    expect(page.get_by_role("button", name=f"Pause {queue}")).to_be_visible()
    assert client.get(f"/queues/{queue}").json()["paused"] is False


def test_what_others_stored_is_shown_as_text(
    page: Page, service: str, client: httpx.Client, queue: str
):
    payload = f'{{"note": "{HOSTILE}", "number": {LONG_NUMBER}}}'
    body = f'{{"kind": "Quick", "queue": "{queue}", "unique_key": "{queue}{HOSTILE}", '
    answer = client.put("/tasks", content=f'{body}"payload": {payload}}}')
    page.goto(f"{service}/#/tasks/{answer.json()['id']}")
    shown = page.get_by_label("Payload", exact=True)
    expect(shown).to_contain_text(f'"note": "{HOSTILE}"')
    expect(shown).to_contain_text(LONG_NUMBER)
    expect(page.get_by_text(f"{queue}{HOSTILE}")).to_be_visible()
    expect(page.get_by_text("No worker")).to_be_visible()
    page.goto(f"{service}/#/tasks?kind={HOSTILE}")
    expect(page.get_by_role("alert")).to_contain_text("filter")
    expect(page.get_by_label("Kind")).to_have_value(HOSTILE)
    expect(page.locator("main img")).to_have_count(0)


def test_a_filter_stands_in_the_address_and_survives_a_reload(
    page: Page, service: str, client: httpx.Client, queue: str
):
    kept, cancelled = stored(client, queue=queue), stored(client, queue=queue)
    client.post(f"/tasks/{cancelled}/cancel")
    page.goto(f"{service}/#/tasks")
    page.get_by_label("Queue", exact=True).fill(queue)
    page.get_by_label("Queue", exact=True).press("Enter")
    expect(page.get_by_title(kept)).to_be_visible()
    expect(page.get_by_title(cancelled)).to_be_visible()
    page.get_by_label("Status").focus()
    page.get_by_label("Status").select_option("Cancelled")
    expect(page.get_by_title(kept)).to_be_hidden()
    expect(page.get_by_label("Status")).to_be_focused()
    assert urlsplit(page.url).fragment == f"/tasks?status=Cancelled&queue={queue}"
    page.reload()
    expect(page.get_by_title(cancelled)).to_be_visible()
    expect(page.get_by_title(kept)).to_be_hidden()
    expect(page.get_by_label("Status")).to_have_value("Cancelled")
    page.go_back()
    expect(page.get_by_title(kept)).to_be_visible()


def test_pages_are_gone_through(page: Page, service: str, client: httpx.Client, queue: str):
    tasks = [{"kind": "Quick", "queue": queue}] * 60
    ids: list[str] = client.post("/tasks/batch", json=tasks).json()["ids"]
    page.goto(f"{service}/#/tasks?queue={queue}")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(10)
    expect(page.get_by_title(ids[0])).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(page.get_by_title(ids[-1])).to_be_visible()


def test_a_task_is_cancelled_and_retried_and_deleted(
    page: Page, service: str, client: httpx.Client, queue: str
):
    task = stored(client, queue=queue, execute_at=LATER)
    page.goto(f"{service}/#/tasks/{task}")
    press(page, "Run now")
    expect(page.get_by_role("button", name="Run now")).to_be_hidden()
    press(page, "Cancel")
    expect(page.locator("dl").get_by_text("Cancelled", exact=True)).to_be_visible()
    assert status_of(client, task) == "Cancelled"
    press(page, "Retry")
    expect(page.locator("dl").get_by_text("Pending", exact=True)).to_be_visible()
    assert status_of(client, task) == "Pending"
    press(page, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Tasks", exact=True)).to_be_visible()
    assert client.get(f"/tasks/{task}").status_code == 404


def test_many_are_changed_those_selected_and_all_that_match(
    page: Page, service: str, client: httpx.Client, queue: str
):
    ids = [stored(client, queue=queue) for _ in range(4)]
    page.goto(f"{service}/#/tasks?queue={queue}")
    for task in ids[:2]:
        page.get_by_label(f"Select task {task}").check()
    press(page, "Cancel the selected tasks")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status").last).to_contain_text("2 tasks cancelled.")
    assert [status_of(client, task) for task in ids] == ["Cancelled"] * 2 + ["Pending"] * 2
    press(page, "Delete all tasks that match")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"queue:{queue}")
    dialog.get_by_role("button", name="Delete all").click()
    expect(page.get_by_text("4 tasks deleted.")).to_be_visible()
    expect(page.get_by_text("No task matches.")).to_be_visible()


def test_a_new_task_is_stored_once_its_fields_are_right(
    page: Page, service: str, client: httpx.Client, queue: str
):
    page.goto(f"{service}/#/new")
    page.get_by_label("Kind").fill("Nonsense")
    page.get_by_label("Queue").fill(queue)
    page.get_by_label("Payload").fill("{oops")
    press(page, "Store the task")
    expect(page.get_by_text("this is no JSON")).to_be_visible()
    page.get_by_label("Payload").fill(f'{{"number": {LONG_NUMBER}}}')
    press(page, "Store the task")
    expect(page.get_by_label("Kind")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Kind")).to_be_focused()
    expect(page.get_by_text("Nonsense", exact=False)).to_be_visible()
    page.get_by_label("Kind").fill("Quick")
    press(page, "Store the task")
    expect(page.get_by_role("heading", name=re.compile("^Task …"))).to_be_visible()
    (task,) = client.get(f"/tasks?filter=queue:{queue}").json()
    assert urlsplit(page.url).fragment == f"/tasks/{task['id']}"
    assert LONG_NUMBER in client.get(f"/tasks/{task['id']}").text


def test_who_edits_what_has_changed_is_told(
    page: Page, service: str, client: httpx.Client, queue: str
):
    payload = {"note": HOSTILE}
    task = stored(client, queue=queue, execute_at=LATER, payload=payload)
    page.goto(f"{service}/#/tasks/{task}")
    press(page, "Edit")
    client.patch(f"/tasks/{task}", json={"priority": 1})
    page.get_by_label("Priority").fill("9")
    press(page, "Save")
    expect(page.get_by_text("The task has changed since you opened it")).to_be_visible()
    assert client.get(f"/tasks/{task}").json()["priority"] == 1
    press(page, "Edit")
    expect(page.get_by_label("Priority")).to_have_value("1")
    page.get_by_label("Priority").fill("11")
    press(page, "Save")
    expect(page.get_by_label("Priority")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Priority").fill("9")
    press(page, "Save")
    expect(page.get_by_text("The task is changed.")).to_be_visible()
    now = client.get(f"/tasks/{task}").json()
    assert now["priority"] == 9
    assert now["payload"] == payload
    assert now["execute_at"] == LATER.replace("+00:00", "Z"), "the field has no microseconds"


def test_a_wrong_key_is_told_and_a_right_one_opens(
    page: Page, closed_service: str, programs: Programs
):
    token = token_in(programs.good("keys", "add", "looker", "--scope", "read"))
    page.goto(f"{closed_service}/#/queues")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("this needs a key")
    dialog.get_by_label("Key", exact=True).fill("tsk_nonsense")
    dialog.get_by_label("Key", exact=True).press("Enter")
    expect(dialog).to_contain_text("the key is unknown, expired or revoked")
    dialog.get_by_label("Key", exact=True).fill(token)
    dialog.get_by_label("Key", exact=True).press("Enter")
    expect(page.get_by_role("table", name="Queues")).to_be_visible()
    expect(dialog).to_be_hidden()
    page.reload()
    expect(page.get_by_role("table", name="Queues")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("alert")).to_contain_text("this needs a key of scope admin")
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"


def test_a_key_of_some_queues_sees_its_tasks_and_is_told_the_rest(
    page: Page, closed_service: str, programs: Programs
):
    tenant = ("--scope", "write", "--queue-prefix", "acme.")
    token = token_in(programs.good("keys", "add", "acme", *tenant))
    headers = {"Authorization": f"Bearer {token}"}
    mine = httpx.put(
        f"{closed_service}/tasks", json={"kind": "Quick", "queue": "acme.mail"}, headers=headers
    ).json()["id"]
    page.goto(closed_service)
    page.get_by_role("dialog").get_by_label("Key", exact=True).fill(token)
    press(page, "Use this key")
    expect(page.get_by_text("only some queues").first).to_be_visible()
    page.goto(f"{closed_service}/#/tasks")
    page.get_by_label(f"Select task {mine}").check()
    press(page, "Cancel the selected tasks")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("1 task cancelled.")).to_be_visible()


@pytest.mark.parametrize("view", ["#/", "#/queues"])
def test_it_waits_for_a_database_that_is_away(page: Page, service: str, view: str):
    def away(route: Route) -> None:
        detail = "the database cannot be reached at present; try again"
        route.fulfill(status=503, json={"detail": detail}, content_type="application/problem+json")

    page.clock.install()
    queues = re.compile(rf"^{re.escape(service)}/queues\?")
    page.route(queues, away)
    page.goto(f"{service}/{view}")
    expect(page.locator("#banner")).to_contain_text("The database cannot be reached")
    page.unroute(queues)
    page.clock.fast_forward(5_000)
    expect(page.get_by_role("table", name="Queues")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


def test_it_asks_for_nothing_while_nobody_looks(page: Page, service: str):
    asked: list[str] = []
    page.clock.install()
    page.goto(f"{service}/#/queues")
    expect(page.get_by_role("table", name="Queues")).to_be_visible()
    page.on("request", lambda request: asked.append(request.url))
    hidden = "Object.defineProperty(document, 'hidden', {{get: () => {}, configurable: true}})"
    page.evaluate(hidden.format("true"))
    page.clock.run_for(60_000)
    assert asked == []
    page.evaluate(hidden.format("false"))
    queues = f"{service}/queues?limit=1000"
    with page.expect_response(lambda answer: answer.url == queues):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(1_000)
    assert sorted(asked) == [queues, f"{service}/workers"]


def test_schedules_are_made_looked_at_and_changed(
    page: Page, service: str, client: httpx.Client, queue: str
):
    name = f"nightly-{queue}"

    def kept() -> dict[str, Any]:
        return client.get(f"/schedules/{name}").json()

    page.goto(f"{service}/#/schedules")
    press(page, "New schedule")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Kind").fill("Quick")
    page.get_by_label("Queue").fill(queue)
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Cron expression").fill("0 3 * *")
    page.get_by_label("Payload").fill('{"a": 1}')
    press(page, "Save")
    expect(page.get_by_role("dialog")).to_contain_text("is not understood")
    page.get_by_label("Cron expression").fill("0 3 * * *")
    press(page, "Save")
    expect(page.get_by_text(f"Schedule {name} is stored.")).to_be_visible()
    press(page, f"Pause {name}")
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()
    assert kept()["paused"] is True
    press(page, f"Trigger {name}")
    eventually(lambda: client.get(f"/tasks?filter=queue:{queue}").json(), "a task")
    press(page, f"Preview {name}")
    (first, *_) = client.get(f"/schedules/{name}/preview").json()["fires"]
    expect(page.get_by_role("dialog")).to_contain_text(first["local"])
    press(page, "Back")
    press(page, f"Edit {name}")
    page.get_by_label("Cron expression").fill("0 4 * * *")
    press(page, "Save")
    expect(page.get_by_text("0 4 * * *")).to_be_visible()
    assert (kept()["cron"], kept()["payload"], kept()["queue"]) == ("0 4 * * *", {"a": 1}, queue)
    press(page, f"Delete {name}")
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name=f"Edit {name}")).to_have_count(0)
    assert client.get(f"/schedules/{name}").status_code == 404


def test_a_service_without_schedules_is_no_fault(page: Page, service: str):
    page.route(re.compile(rf"{service}/schedules\b.*"), lambda route: route.fulfill(status=404))
    page.goto(f"{service}/#/schedules")
    expect(page.get_by_text("Schedules are not served here.")).to_be_visible()


def test_it_works_under_a_path_of_a_proxy(
    page: Page, service: str, client: httpx.Client, queue: str
):
    task = stored(client, queue=queue)
    prefix = f"{service}/some/path/"
    page.route(
        f"{prefix}**",
        lambda route: route.continue_(url=route.request.url.replace(prefix, f"{service}/")),
    )
    direct: list[str] = []
    page.on("request", lambda request: direct.append(request.url))
    page.goto(f"{prefix}#/tasks?queue={queue}")
    page.get_by_title(task).click()
    press(page, "Cancel")
    expect(page.locator("dl").get_by_text("Cancelled", exact=True)).to_be_visible()
    assert all(url.startswith(prefix) for url in direct)


def test_a_narrow_page_needs_no_scrolling_sideways(
    page: Page, service: str, client: httpx.Client, queue: str
):
    task = stored(client, queue=queue, payload={"long": "x" * 500})
    page.set_viewport_size({"width": 400, "height": 800})
    for view in ("", "tasks", f"tasks/{task}", "queues", "workers", "audit", "new"):
        page.goto(f"{service}/#/{view}")
        expect(page.get_by_text("Loading …")).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, view
