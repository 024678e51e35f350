"""The manifests of deploy/kubernetes fit Kubernetes, and what one names, another has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
MANIFESTS: Final[list[dict[str, Any]]] = [
    manifest
    for file in sorted(FOLDER.glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(file.read_text("utf-8"))
]
VERSIONS: Final = ("1.30", "1.37")
"""The oldest that the document names, and the newest whose schemas are to be had."""


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_fits_its_schema(manifest: dict[str, Any], version: str):
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_a_field_that_does_not_exist_is_noticed():
    manifest = of_kind("Deployment")["taskscheduler-api"] | {"spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget", "Service", "NetworkPolicy"])
def test_selectors_find_pods(kind: str):
    pods = [
        each["spec"]["template"]["metadata"]["labels"] for each in of_kind("Deployment").values()
    ]
    chosen = of_kind(kind).values()
    assert chosen
    for each in chosen:
        spec = each["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        wanted = selector.get("matchLabels", selector)
        assert len([labels for labels in pods if wanted.items() <= labels.items()]) == 1


def test_autoscalers_find_deployments_that_leave_the_number_to_them():
    deployments = of_kind("Deployment")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in of_kind("HorizontalPodAutoscaler").values()
    }
    assert scaled == deployments.keys()
    for each in deployments.values():
        assert "replicas" not in each["spec"]
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["requests"]["cpu"]  # of which utilisation is a share


def test_probes_and_services_name_ports_that_are_open():
    (container,) = of_kind("Deployment")["taskscheduler-api"]["spec"]["template"]["spec"][
        "containers"
    ]
    named = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in named
    (service,) = of_kind("Service").values()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_no_variable_of_a_service_is_taken_for_a_setting():
    workloads = [*of_kind("Deployment").values(), *of_kind("Job").values()]
    assert len(workloads) == 3
    for each in workloads:
        assert each["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_secret_that_is_asked_for_is_the_one_that_is_described():
    asked = {
        volume["secret"]["secretName"]
        for each in [*of_kind("Deployment").values(), *of_kind("Job").values()]
        for volume in each["spec"]["template"]["spec"]["volumes"]
    }
    assert asked == of_kind("Secret").keys()


def test_the_file_that_is_named_is_one_of_the_secret():
    for each in [*of_kind("Deployment").values(), *of_kind("Job").values()]:
        spec = each["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        (mount,) = container["volumeMounts"]
        (volume,) = spec["volumes"]
        assert (volume["name"], mount["readOnly"]) == (mount["name"], True)
        described = of_kind("Secret")[volume["secret"]["secretName"]]["stringData"]
        named = {value["name"]: value.get("value") for value in container["env"]}
        folder, _, key = str(named["DATABASE_URL_FILE"]).rpartition("/")
        assert folder == mount["mountPath"]
        assert key in described
