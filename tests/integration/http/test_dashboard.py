"""The dashboard's files, as they are served: whole, open to all, and fit for their own policy."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from taskscheduler.application.client.api_keys import KeyAuthenticator
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import Access
from taskscheduler.entrypoints.http.routes import dashboard
from taskscheduler.testing import in_memory
from tests.integration.http.answers import problem

pytestmark = pytest.mark.anyio

FOLDER: Final = Path(dashboard.__file__).parents[1] / "dashboard"
FILES: Final = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS: Final = [name for name in FILES if name.endswith(".js")]
LINES_MAX: Final = 300
IMPORT: Final = re.compile(r'^(?:import|\} from|.*\bfrom) "([^"]+)";$', re.MULTILINE)
MARKUP: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function"
    r"|createContextualFragment|setHTMLUnsafe|srcdoc|javascript:|\.style\b|cssText"
)
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@pytest.fixture(params=["open", "closed"])
async def client(request: pytest.FixtureRequest) -> AsyncGenerator[httpx.AsyncClient]:
    """Call an application without a key, where none is asked for and where one is."""
    scheduler = in_memory()
    gate = KeyAuthenticator(scheduler.store.keys, scheduler.store.clock)
    app = create_app(scheduler, access=Access(gate=gate) if request.param == "closed" else None)
    served: Any = app
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


class Elements(HTMLParser):
    """The elements of a page, and the text within scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in {"script", "style"}:
            self.inline += data.strip()


PAGE: Final = Elements((FOLDER / dashboard.PAGE).read_text("utf-8"))


def policy_of(answer: httpx.Response) -> dict[str, str]:
    """Return the directives of the Content-Security-Policy."""
    directives = answer.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (each.partition(" ") for each in directives)}


async def test_the_page_is_served_to_all_under_a_policy_of_its_own(client: httpx.AsyncClient):
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.content == (FOLDER / dashboard.PAGE).read_bytes()
    assert answer.headers["content-type"] == TYPES[".html"]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = policy_of(answer)
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_served_to_all(client: httpx.AsyncClient, name: str):
    answer = await client.get(f"/dashboard/{name}")
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[Path(name).suffix]
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/dashboard/main.js"])
async def test_what_a_browser_has_is_sent_again_only_if_it_has_changed(
    client: httpx.AsyncClient, path: str
):
    first = await client.get(path)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await client.get(path, headers={"If-None-Match": known})
        assert same.status_code == 304, known
        assert same.content == b""
        # A browser takes over what these say now, so they must say the same.
        for name in ("etag", "cache-control", "content-security-policy"):
            assert same.headers[name] == first.headers[name]
        assert "content-type" not in same.headers
    other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/", "/dashboard/main.js"])
async def test_head_is_answered_as_get_but_for_the_body(client: httpx.AsyncClient, path: str):
    answer = await client.head(path)
    full = await client.get(path)
    assert answer.status_code == 200
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert answer.headers[name] == full.headers[name]


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/nothing.js",
        "/dashboard/views",
        "/dashboard/views/",
        "/dashboard/../app.py",
        "/dashboard/%2e%2e/app.py",
        "/dashboard/..%2fapp.py",
        "/dashboard//etc/passwd",
    ],
)
async def test_no_other_file_is_there(client: httpx.AsyncClient, path: str):
    problem(await client.get(path), 404)


async def test_it_is_for_looking_alone(client: httpx.AsyncClient):
    problem(await client.post("/", content=b"{}"), 405)
    problem(await client.delete("/dashboard/main.js"), 405)


async def test_it_is_no_part_of_the_documented_interface(client: httpx.AsyncClient):
    paths = (await client.get("/schema/openapi.json")).json()["paths"]
    assert "/tasks" in paths
    assert not [path for path in paths if path == "/" or path.startswith("/dashboard")]


def test_the_page_has_no_script_and_no_style_in_it():
    assert PAGE.inline == ""
    for tag, attributes in PAGE.found:
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")], tag


def test_all_that_the_page_names_is_there_and_near():
    named = [
        value
        for tag, attributes in PAGE.found
        for name, value in attributes.items()
        if tag != "a" and name in {"href", "src"} and value is not None
    ]
    assert "dashboard/main.js" in named
    for each in named:
        assert each.removeprefix("dashboard/") in FILES, "relative, for a path behind a proxy"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_what_is_there_and_near(name: str):
    text = (FOLDER / name).read_text("utf-8")
    imported = IMPORT.findall(text)
    assert len(imported) == len(re.findall(r"^import\b", text, re.MULTILINE))
    for each in imported:
        assert each.startswith(("./", "../"))
        assert (FOLDER / name).parent.joinpath(each).resolve().is_relative_to(FOLDER)
        assert (FOLDER / name).parent.joinpath(each).is_file(), each


def test_every_script_is_used():
    reached = {"main.js"}
    todo = ["main.js"]
    while todo:
        name = todo.pop()
        for each in IMPORT.findall((FOLDER / name).read_text("utf-8")):
            found = str((FOLDER / name).parent.joinpath(each).resolve().relative_to(FOLDER))
            if found not in reached:
                reached.add(found)
                todo.append(found)
    assert reached == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_markup_and_stays_small(name: str):
    text = (FOLDER / name).read_text("utf-8")
    assert MARKUP.search(text) is None
    assert "http://" not in text
    assert "https://" not in text
    assert text.startswith("// @ts-check\n/**")
    assert text.count("\n") < LINES_MAX
