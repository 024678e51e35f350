#!/usr/bin/env bash
# opentelemetry-exporter-prometheus 0.66b2: two counters with names of their own are exported as one
# series, twice.
#
# Guess: OpenTelemetry allows dots and underscores in names, so `jobs.done` and `jobs_done` are two
# instruments. Prometheus has no dots; the exporter finds a second name, adds the values up, or warns.
#
# What happens: both become `jobs_done_total` with the same labels. The page holds the series twice with
# two values, and no warning is logged. A reader of the page takes one of them, and which one is not said.
#
# Output seen:
#   jobs_done_total 1.0
#   jobs_done_total 20.0
#   warnings: 0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opentelemetry-exporter-prometheus==0.66b2 opentelemetry-sdk==1.45.2 prometheus-client==0.26.0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import logging

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

warnings = []
handler = logging.Handler()
handler.emit = warnings.append
logging.getLogger().addHandler(handler)
meter = MeterProvider([PrometheusMetricReader()]).get_meter("finding")
meter.create_counter("jobs.done").add(1)
meter.create_counter("jobs_done").add(20)
for line in generate_latest(REGISTRY).decode().splitlines():
    if line.startswith("jobs_done_total"):
        print("jobs_done_total", line.split()[-1])
print("warnings:", len(warnings))
PYTHON
)
expected='jobs_done_total 1.0
jobs_done_total 20.0
warnings: 0'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
