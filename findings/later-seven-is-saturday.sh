#!/usr/bin/env bash
# @breejs/later 4.2.0 (npm): weekday 7 of a cron expression is Saturday.
#
# Guess: crontab(5) lets 0 and 7 both be Sunday, so `0 0 * * 7` fires on Sundays, and `5-7` is Friday to
# Sunday.
#
# What happens: the parser adds one to each weekday, since the library counts from Sunday as 1, and cuts
# what is over 7 down to 7. 7 becomes Saturday, as 6 does: `0 0 * * 7` fires on Saturdays, and `5-7` and
# `1-7` have no Sunday. No error is raised.
#
# Output seen:
#   0: Sun
#   6: Sat
#   7: Sat
#   5-7: Fri Sat
#   1-7: Thu Fri Sat Mon Tue Wed
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" @breejs/later@4.2.0

seen=$(cd "$folder" && node - <<'NODE'
const later = require("@breejs/later");
later.date.UTC();
for (const weekdays of ["0", "6", "7", "5-7", "1-7"]) {
  const schedule = later.schedule(later.parse.cron(`0 0 * * ${weekdays}`));
  const fires = schedule.next(7, new Date("2026-01-01T00:00:00Z"));
  console.log(`${weekdays}:`, [...new Set(fires.map((each) => each.toUTCString().slice(0, 3)))].join(" "));
}
NODE
)
expected='0: Sun
6: Sat
7: Sat
5-7: Fri Sat
1-7: Thu Fri Sat Mon Tue Wed'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
