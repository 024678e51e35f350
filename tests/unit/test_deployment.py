"""What is in deploy/ fits the program: settings that exist, paths that are served, time to stop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from taskscheduler.entrypoints.cli import app as command_line
from taskscheduler.entrypoints.cli.secret_files import IN_FILES
from taskscheduler.entrypoints.http.middleware.hosts import Proxies

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
FILES: Final = sorted(
    file
    for file in DEPLOY.rglob("*")
    if file.is_file() and file.suffix != ".whl" and file.name not in {"demo", ".env"}
)
#: What the compose file itself asks for.
OF_COMPOSE: Final = {"TASKSCHEDULER_IMAGE"}


def settings() -> set[str]:
    """Return the environment variables that the program reads."""
    group: Any = typer.main.get_command(command_line)
    found: set[str] = set()
    for command in group.commands.values():
        for parameter in command.params:
            names: str | list[str] = getattr(parameter, "envvar", None) or []
            found |= {names} if isinstance(names, str) else set(names)
    return found | {f"{each}_FILE" for each in IN_FILES}


def documents(name: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all((DEPLOY / name).read_text("utf-8"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_that_is_named_exists(file: Path):
    named = set(re.findall(r"\bTASKSCHEDULER_[A-Z_]+", file.read_text("utf-8")))
    assert named <= settings() | OF_COMPOSE


def test_files_were_found():
    assert len(FILES) >= 14


def test_the_manifests_are_listed_and_are_manifests():
    (kustomization,) = documents("kubernetes/kustomization.yaml")
    listed: list[str] = kustomization["resources"]
    there = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert there == {*listed, "kustomization.yaml", "secret.example.yaml"}
    kinds = [each["kind"] for name in listed for each in documents(f"kubernetes/{name}")]
    assert len(kinds) == 10


@pytest.mark.parametrize("part", ["api", "worker", "migrate"])
def test_containers_are_confined(part: str):
    pod = documents(f"kubernetes/{part}.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (compose,) = documents("compose.yaml")
    service = compose["services"][part]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_each_part_has_a_role_and_a_password_of_its_own():
    (compose,) = documents("compose.yaml")
    urls = {
        part: compose["services"][part]["environment"]["DATABASE_URL"]
        for part in ("migrate", "api", "worker")
    }
    found = [re.fullmatch(r"postgresql://(\w+):\$\{(\w+)\}@.*", url) for url in urls.values()]
    roles = [each[1] for each in found if each]
    passwords = [each[2] for each in found if each]
    assert roles == ["taskscheduler", "taskscheduler_api", "taskscheduler_worker"]
    superuser = compose["services"]["postgres"]["environment"]
    assert superuser["POSTGRES_USER"] not in roles
    broker = compose["services"]["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_PASS"]
    everybody = [*passwords, superuser["POSTGRES_PASSWORD"], broker]
    assert len({re.sub(r"\W.*", "", each.removeprefix("${")) for each in everybody}) == 5
    script = (DEPLOY / "postgres" / "roles.sh").read_text("utf-8")
    for role in roles:
        assert f"CREATE ROLE {role} LOGIN NOSUPERUSER" in script
    secrets = {
        each["metadata"]["name"]: each for each in documents("kubernetes/secret.example.yaml")
    }
    for part, role in zip(urls, roles, strict=True):
        url = secrets[f"taskscheduler-{part}"]["stringData"]["database-url"]
        assert url.startswith(f"postgresql://{role}:")
        pod = documents(f"kubernetes/{part}.yaml")[0]["spec"]["template"]["spec"]
        assert pod["volumes"][0]["secret"]["secretName"] == f"taskscheduler-{part}"
        unit = part if part != "worker" else "worker@"
        text = (DEPLOY / "systemd" / f"taskscheduler-{unit}.service").read_text("utf-8")
        assert f"LoadCredential=database-url:/etc/taskscheduler/{part}.url" in text


def test_the_balancer_passes_on_no_address_that_a_caller_claims():
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text("utf-8")
    assert text.index("del-header X-Forwarded-For") < text.index("option forwardfor")
    (compose,) = documents("compose.yaml")
    trusted = compose["services"]["api"]["environment"]["TASKSCHEDULER_TRUSTED_PROXY"]
    networks = trusted.partition(":-")[2].removesuffix("}").split(",")
    assert Proxies.of(networks).networks


def test_probes_ask_what_they_should():
    pod = documents("kubernetes/api.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")
    }
    assert paths == {"liveness": "/healthz", "readiness": "/readyz"}


def test_workers_have_longer_to_stop_than_their_shutdown_takes():
    pod = documents("kubernetes/worker.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert pod["terminationGracePeriodSeconds"] > int(values["TASKSCHEDULER_SHUTDOWN_TIMEOUT"])
    (compose,) = documents("compose.yaml")
    worker = compose["services"]["worker"]
    grace = int(worker["stop_grace_period"].removesuffix("s"))
    assert grace > int(worker["environment"]["TASKSCHEDULER_SHUTDOWN_TIMEOUT"])
    unit = (DEPLOY / "systemd" / "taskscheduler-worker@.service").read_text("utf-8")
    stop, timeout = (
        int(re.findall(rf"{name}=(\d+)", unit)[0])
        for name in ("TimeoutStopSec", "TASKSCHEDULER_SHUTDOWN_TIMEOUT")
    )
    assert stop > timeout


@pytest.mark.parametrize("unit", ["taskscheduler-api", "taskscheduler-worker@"])
def test_units_outlast_a_database_that_comes_late(unit: str):
    text = (DEPLOY / "systemd" / f"{unit}.service").read_text("utf-8")
    assert "Requires=" not in text  # a migration that fails would keep it from starting for good
    assert "StartLimitIntervalSec=0" in text
    after = re.findall(r"^After=(.*)$", text, re.MULTILINE)[0].split()
    assert {"postgresql.service", "taskscheduler-migrate.service"} <= {*after}
    migration = (DEPLOY / "systemd" / "taskscheduler-migrate.service").read_text("utf-8")
    assert "\nRestart=on-failure\n" in migration
