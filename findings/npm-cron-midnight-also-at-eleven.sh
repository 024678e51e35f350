#!/usr/bin/env bash
# cron 4.4.0 (npm): where clocks go back at midnight, a job at midnight also runs at 23:00.
#
# Guess: in Santiago, clocks go from 24:00 on 4 April 2026 back to 23:00. 5 April has one midnight, so
# `0 0 * * *` fires once for it, at 00:00 on 5 April.
#
# What happens: it fires at 23:00 on 4 April, which is the instant where midnight would have been without
# the change, and an hour later once more. `30 0 * * *` fires at 23:30 and at 00:30. Hour 23 is in
# neither expression.
#
# Output seen:
#   0 0 * * *: 04.04. 00:00 -03:00, 04.04. 23:00 -04:00, 05.04. 00:00 -04:00, 06.04. 00:00 -04:00
#   30 0 * * *: 04.04. 00:30 -03:00, 04.04. 23:30 -04:00, 05.04. 00:30 -04:00, 06.04. 00:30 -04:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" cron@4.4.0

seen=$(cd "$folder" && node - <<'NODE'
const { CronTime } = require("cron");
const zone = "America/Santiago";
for (const expression of ["0 0 * * *", "30 0 * * *"]) {
  const daily = new CronTime(expression, zone);
  let at = new Date("2026-04-03T12:00:00Z");
  const shown = [];
  for (let step = 0; step < 4; step++) {
    const next = daily.getNextDateFrom(at, zone);
    shown.push(next.toFormat("dd.MM. HH:mm ZZ"));
    at = next.toJSDate();
  }
  console.log(`${expression}:`, shown.join(", "));
}
NODE
)
expected='0 0 * * *: 04.04. 00:00 -03:00, 04.04. 23:00 -04:00, 05.04. 00:00 -04:00, 06.04. 00:00 -04:00
30 0 * * *: 04.04. 00:30 -03:00, 04.04. 23:30 -04:00, 05.04. 00:30 -04:00, 06.04. 00:30 -04:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
