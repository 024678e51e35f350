#!/usr/bin/env bash
# cron-parser 5.10.6 (npm): no schedule at a full hour can pass a change of clocks by half an hour.
#
# Guess: on Lord Howe Island, clocks go from 02:00 back to 01:30 on 5 April 2026. A job at 06:00 or at
# 23:00 is far from it: asked at 01:10, the library names 06:00 and 23:00 of the same day.
#
# What happens: it raises an error that calls the expression invalid and says that a loop has met its
# limit. After the change it reads the same expressions well, and `30 6 * * *` passes the change. The
# README promises that it handles such changes.
#
# Output seen:
#   0 6 * * * after 2026-04-04T14:10:00Z: Invalid expression, loop limit exceeded
#   0 6 * * * after 2026-04-04T16:10:00Z: 2026-04-04T19:30:00.000Z
#   0 23 * * * after 2026-04-04T14:10:00Z: Invalid expression, loop limit exceeded
#   0 23 * * * after 2026-04-04T16:10:00Z: 2026-04-05T12:30:00.000Z
#   30 6 * * * after 2026-04-04T14:10:00Z: 2026-04-04T20:00:00.000Z
#   30 6 * * * after 2026-04-04T16:10:00Z: 2026-04-04T20:00:00.000Z
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" cron-parser@5.10.6

seen=$(cd "$folder" && node - <<'NODE'
const { CronExpressionParser } = require("cron-parser");
const zone = "Australia/Lord_Howe";
for (const expression of ["0 6 * * *", "0 23 * * *", "30 6 * * *"]) {
  for (const from of ["2026-04-04T14:10:00Z", "2026-04-04T16:10:00Z"]) {
    let shown;
    try {
      const times = CronExpressionParser.parse(expression, { currentDate: new Date(from), tz: zone });
      shown = times.next().toDate().toISOString();
    } catch (error) {
      shown = error.message;
    }
    console.log(`${expression} after ${from}: ${shown}`);
  }
}
NODE
)
expected='0 6 * * * after 2026-04-04T14:10:00Z: Invalid expression, loop limit exceeded
0 6 * * * after 2026-04-04T16:10:00Z: 2026-04-04T19:30:00.000Z
0 23 * * * after 2026-04-04T14:10:00Z: Invalid expression, loop limit exceeded
0 23 * * * after 2026-04-04T16:10:00Z: 2026-04-05T12:30:00.000Z
30 6 * * * after 2026-04-04T14:10:00Z: 2026-04-04T20:00:00.000Z
30 6 * * * after 2026-04-04T16:10:00Z: 2026-04-04T20:00:00.000Z'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
