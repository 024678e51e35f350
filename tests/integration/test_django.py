"""A Django project whose tasks are stored by us: ``manage.py``, transactions, results, signals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.integration.processes import environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)

SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["taskscheduler.django", "shop"]
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": {name!r}, "USER": {user!r},
    "PASSWORD": {password!r}, "HOST": {host!r}, "PORT": {port!r},
}}}}
TASKS = {{"default": {{
    "BACKEND": "taskscheduler.django.TaskSchedulerBackend",
    "QUEUES": ["default", "mail"],
    "OPTIONS": {{"schema": {schema!r}}},
}}}}
"""
TASKS = """
try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

@task
def add(a, b=1):
    return {"sum": a + b}

@task(queue_name="mail", priority=50)
async def send(to):
    return f"sent to {to}"

@task(takes_context=True)
def told(context):
    return [context.task_result.id, context.attempt]

@task
def wrong():
    raise ValueError("wrong")
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
STORE = """
import json, os
from datetime import timedelta
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.core.checks import run_checks
from django.db import transaction
from django.utils import timezone
from taskscheduler.django.framework import signals, tasks as framework
from shop import tasks

said = []
def heard(sender, task_result, **_):
    said.append([sender.__name__, task_result.id])
signals.task_enqueued.connect(heard)
ids = {"add": tasks.add.enqueue(40, b=2).id}
try:
    with transaction.atomic():
        ids["gone"] = tasks.add.enqueue(1).id
        raise KeyError
except KeyError:
    pass
with transaction.atomic():
    ids["send"] = tasks.send.enqueue("zoe").id
ids["told"] = tasks.told.enqueue().id
ids["wrong"] = tasks.wrong.enqueue().id
later = timezone.now() + timedelta(days=1)
ids["later"] = tasks.add.using(run_after=later).enqueue(1).id
refused = []
for asked in (lambda: tasks.add.using(queue_name="other"), lambda: tasks.add.enqueue(object())):
    try:
        asked()
    except Exception as error:
        refused.append(type(error).__name__)
backend = framework.task_backends["default"]
print(json.dumps({"ids": ids, "said": said, "refused": refused,
                  "checks": [str(each) for each in backend.check()]}))
backend.close()
"""
LOOK = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from taskscheduler.django.framework import exceptions, tasks as framework
from shop import tasks

backend = framework.task_backends["default"]
found = {}
for name, task_id in json.loads(sys.argv[1]).items():
    try:
        result = backend.get_result(task_id)
    except exceptions.TaskResultDoesNotExist:
        found[name] = None
        continue
    result.refresh()
    value = result.return_value if result.status == "SUCCESSFUL" else None
    found[name] = {
        "status": result.status, "value": value, "priority": result.task.priority,
        "queue": result.task.queue_name, "attempts": result.attempts,
        "errors": [[e.exception_class.__name__, "wrong" in e.traceback] for e in result.errors],
        "finished": result.finished_at is not None, "args": result.args,
    }
for bad in ("7", "00000000-0000-4000-8000-000000000000"):
    try:
        backend.get_result(bad)
    except exceptions.TaskResultDoesNotExist:
        found[bad] = "none"
print(json.dumps(found))
backend.close()
"""


class Project:
    """A folder with a Django project in it."""

    def __init__(self, folder: Path, url: str, schema: str) -> None:
        self.folder = folder
        parts = urlsplit(url)
        text = SETTINGS.format(
            name=parts.path[1:],
            user=parts.username,
            password=parts.password or "",
            host=parts.hostname,
            port=parts.port,
            schema=schema,
        )
        (folder / "shop").mkdir()
        files = {"settings": text, "manage": MANAGE, "store": STORE, "look": LOOK}
        files |= {"shop/__init__": "", "shop/tasks": TASKS}
        for name, content in files.items():
            (folder / f"{name}.py").write_text(content)

    def run(self, *arguments: str) -> str:
        """Run a program of the project, which must go well; return what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tells(self, *arguments: str) -> Any:
        """Return the JSON that a program of the project prints."""
        return json.loads(self.run(*arguments).splitlines()[-1])


def test_tasks_from_their_storing_to_their_results(
    postgres_url: str, schema: str, tmp_path: Path
) -> None:
    project = Project(tmp_path, postgres_url, schema)
    assert "applied" in project.run("manage.py", "taskscheduler_migrate")
    stored = project.tells("store.py")
    ids = stored["ids"]
    assert stored["said"] == [["TaskSchedulerBackend", each] for each in ids.values()]
    assert stored["refused"] == ["InvalidTaskError", "TypeError"]
    assert stored["checks"] == []
    before = project.tells("look.py", json.dumps(ids))
    assert before["gone"] is None
    assert (before["add"]["status"], before["add"]["args"]) == ("READY", [40])
    project.run("manage.py", "taskscheduler_worker", "--drain")
    after = project.tells("look.py", json.dumps(ids))
    assert after["gone"] is None
    assert (after["add"]["status"], after["add"]["value"]) == ("SUCCESSFUL", {"sum": 42})
    assert after["add"]["attempts"] == 1
    assert after["add"]["finished"]
    assert after["send"]["value"] == "sent to zoe"
    assert (after["send"]["queue"], after["send"]["priority"]) == ("mail", 50)
    assert after["told"]["value"] == [ids["told"], 1]
    assert after["wrong"]["status"] == "FAILED"
    assert after["wrong"]["errors"] == [["ValueError", True]]
    assert after["later"]["status"] == "READY"
    assert after["7"] == after["00000000-0000-4000-8000-000000000000"] == "none"
