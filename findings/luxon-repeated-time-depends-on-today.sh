#!/usr/bin/env bash
# luxon 3.7.2: the same time of day in a zone is another instant in winter than in summer.
#
# Guess: 01:30 on 1 November 2026 comes twice in New York. The documentation does not promise which one is
# taken, but a library without state takes the same one each day.
#
# What happens: luxon tries the offset that the zone has today. Read in January, the time is the second
# 01:30, and read in July, it is the first. A test that passes in summer fails in winter, and two processes
# that read the same string on two days disagree by an hour.
#
# Output seen:
#   read on 2026-01-15: 2026-11-01T06:30:00.000Z
#   read on 2026-07-15: 2026-11-01T05:30:00.000Z
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" luxon@3.7.2

seen=$(cd "$folder" && node - <<'NODE'
const { DateTime, Settings } = require("luxon");
for (const today of ["2026-01-15", "2026-07-15"]) {
  Settings.now = () => Date.parse(today);
  const read = DateTime.fromISO("2026-11-01T01:30", { zone: "America/New_York" });
  console.log(`read on ${today}:`, read.toUTC().toISO());
}
NODE
)
expected='read on 2026-01-15: 2026-11-01T06:30:00.000Z
read on 2026-07-15: 2026-11-01T05:30:00.000Z'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
