#!/usr/bin/env bash
# cron 4.4.0 (npm): over a change of clocks it fires at a minute that the expression does not name.
#
# Guess: `15,45 * * * *` fires at minutes 15 and 45 of each hour. New York has no 02:15 and no 02:45 on 8
# March 2026; the next run after 01:45 is at 03:15, half an hour later.
#
# What happens: the library sees that 02:15 is missing, and runs once at 03:00 for it, as it would for a
# daily job. 03:15 and 03:45 follow.
#
# Output seen:
#   01:15 -05:00
#   01:45 -05:00
#   03:00 -04:00
#   03:15 -04:00
#   03:45 -04:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" cron@4.4.0

seen=$(cd "$folder" && node - <<'NODE'
const { CronTime } = require("cron");
const zone = "America/New_York";
const halves = new CronTime("15,45 * * * *", zone);
let at = new Date("2026-03-08T06:00:00Z");
for (let step = 0; step < 5; step++) {
  const next = halves.getNextDateFrom(at, zone);
  console.log(next.toFormat("HH:mm ZZ"));
  at = next.toJSDate();
}
NODE
)
expected='01:15 -05:00
01:45 -05:00
03:00 -04:00
03:15 -04:00
03:45 -04:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
