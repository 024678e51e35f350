#!/usr/bin/env bash
# cron-parser 5.10.6 (npm): where clocks change by half an hour, it leaves out quarters of an hour that
# exist.
#
# Guess: on Lord Howe Island, `*/15 * * * *` fires each quarter of an hour of real time. In spring, when
# 02:00 becomes 02:30, it fires at 02:30 and 02:45. In autumn, when 02:00 becomes 01:30, it fires at both
# 01:30 and at both 01:45, as the library does where clocks change by an hour.
#
# What happens: in spring it goes from 01:45 to 03:00, and in autumn from the first 01:45 to 02:00. Each
# leaves out half an hour of real time.
#
# Output seen:
#   Lord Howe, spring: 01:30 01:45 03:00 03:15 | minutes: 15 45 15
#   Lord Howe, autumn: 01:30 01:45 02:00 02:15 | minutes: 15 45 15
#   New York, autumn: 01:30 01:45 01:00 01:15 | minutes: 15 15 15
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" cron-parser@5.10.6

seen=$(cd "$folder" && node - <<'NODE'
const { CronExpressionParser } = require("cron-parser");
const show = (name, tz, from, count) => {
  const quarters = CronExpressionParser.parse("*/15 * * * *", { currentDate: new Date(from), tz });
  const fires = Array.from({ length: count }, () => quarters.next().toDate());
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: tz, hour: "2-digit", minute: "2-digit" });
  const gaps = fires.slice(1).map((each, i) => (each - fires[i]) / 60000);
  console.log(`${name}:`, fires.map((each) => clock.format(each)).join(" "), "| minutes:", gaps.join(" "));
};
show("Lord Howe, spring", "Australia/Lord_Howe", "2026-10-03T14:55:00Z", 4);
show("Lord Howe, autumn", "Australia/Lord_Howe", "2026-04-04T14:25:00Z", 4);
show("New York, autumn", "America/New_York", "2026-11-01T05:25:00Z", 4);
NODE
)
expected='Lord Howe, spring: 01:30 01:45 03:00 03:15 | minutes: 15 45 15
Lord Howe, autumn: 01:30 01:45 02:00 02:15 | minutes: 15 45 15
New York, autumn: 01:30 01:45 01:00 01:15 | minutes: 15 15 15'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
