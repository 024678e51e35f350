#!/usr/bin/env bash
# rrule 2.8.1 (npm): where the first and the last are the same, the instant comes twice and is counted
# twice.
#
# Guess: `BYSETPOS=1,-1` names the first and the last of a set, and in a set of one they are the same. RFC
# 5545 speaks of sets, so the instant comes once, and COUNT=4 ends after four instants.
#
# What happens: the 31st of January comes twice, and so do the others. COUNT=4 is used up by two dates, and
# who starts a job for each entry starts it twice.
#
# Output seen:
#   1: 01-31 03-31 05-31 07-31
#   1,-1: 01-31 01-31 03-31 03-31
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" rrule@2.8.1

seen=$(cd "$folder" && node - <<'NODE'
const { rrulestr } = require("rrule");
for (const positions of ["1", "1,-1"]) {
  const rule = `FREQ=MONTHLY;BYMONTHDAY=31;BYSETPOS=${positions};COUNT=4`;
  const dates = rrulestr(`DTSTART:20260101T000000Z\nRRULE:${rule}`).all();
  console.log(`${positions}:`, dates.map((each) => each.toISOString().slice(5, 10)).join(" "));
}
NODE
)
expected='1: 01-31 03-31 05-31 07-31
1,-1: 01-31 01-31 03-31 03-31'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
