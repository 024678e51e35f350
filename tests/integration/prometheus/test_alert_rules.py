"""The alerts, by Prometheus's own tool."""

from __future__ import annotations

import re

from tests.integration.prometheus.conftest import DEPLOY, promtool

ALERT = re.compile(r"- alert: (\w+)")


def test_prometheus_takes_the_rules():
    checked = promtool("check", "rules", "alerts.yml")
    assert checked.returncode == 0, checked.stderr
    alerts = ALERT.findall((DEPLOY / "alerts.yml").read_text("utf-8"))
    assert f"{len(alerts)} rules found" in checked.stdout


def test_alerts_fire_when_they_should_and_not_when_not():
    ran = promtool("test", "rules", "alerts.test.yml")
    assert ran.returncode == 0, ran.stderr


def test_every_alert_is_seen_to_fire_and_to_be_silent():
    tried = (DEPLOY / "alerts.test.yml").read_text("utf-8")
    for name in ALERT.findall((DEPLOY / "alerts.yml").read_text("utf-8")):
        assert re.search(rf"alertname: {name}, eval_time: \w+, exp_alerts: \[\]", tried), name
        assert re.search(rf"alertname: {name}\n +eval_time: \w+\n +exp_alerts:\n +- exp_", tried), (
            name
        )
