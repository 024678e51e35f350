#!/usr/bin/env bash
# cron 4.4.0 (npm): who asks in July for the runs of November gets two instants in turn, for ever.
#
# Guess: the runs of `*/30 * * * *` over the change of clocks in New York are the same, whichever day one
# asks on: 01:00 and 01:30, once more 01:00 and 01:30, and then 02:00.
#
# What happens: asked in January, the answer is the one guessed. Asked in July, the run after the second
# 01:00 is the first 01:30, which is half an hour earlier, and after it comes the second 01:00 again. A
# walk from run to run never leaves these two. The library reads a repeated time of day with luxon, which
# looks at today's offset.
#
# Output seen:
#   asked on 2026-01-15: 01:00 -04:00, 01:30 -04:00, 01:00 -05:00, 01:30 -05:00, 02:00 -05:00, 02:30 -05:00
#   asked on 2026-07-15: 01:00 -04:00, 01:30 -04:00, 01:00 -05:00, 01:30 -04:00, 01:00 -05:00, 01:30 -04:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" cron@4.4.0 luxon@3.7.2

seen=$(cd "$folder" && node - <<'NODE'
const { Settings } = require("luxon");
const { CronTime } = require("cron");
const zone = "America/New_York";
const halves = new CronTime("*/30 * * * *", zone);
for (const today of ["2026-01-15", "2026-07-15"]) {
  Settings.now = () => Date.parse(today);
  let at = new Date("2026-11-01T04:30:00Z");
  const shown = [];
  for (let step = 0; step < 6; step++) {
    const next = halves.getNextDateFrom(at, zone);
    shown.push(next.toFormat("HH:mm ZZ"));
    at = next.toJSDate();
  }
  console.log(`asked on ${today}:`, shown.join(", "));
}
NODE
)
expected='asked on 2026-01-15: 01:00 -04:00, 01:30 -04:00, 01:00 -05:00, 01:30 -05:00, 02:00 -05:00, 02:30 -05:00
asked on 2026-07-15: 01:00 -04:00, 01:30 -04:00, 01:00 -05:00, 01:30 -04:00, 01:00 -05:00, 01:30 -04:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
