#!/usr/bin/env bash
# Runs MariaDB's own test suite upstream while Tidelake follows, and compares all tables all the time (docs/testing.md).
# The last lines are the summary; it ends with 1 if a table differed or a process crashed.
# usage: scripts/sweep.sh ['PATTERN...'] [SHARD/SHARDS]     e.g. scripts/sweep.sh 'alter_* type_*' 1/2
#   TIDELAKE_SWEEP_SERVER=mariadb-new | mysql-new            runs it on another server
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/servers.sh mariadb-suite
# Both sides sync at each commit: three times as fast where that costs nothing.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
export TIDELAKE_SWEEP_FILES=${1:-} TIDELAKE_SWEEP_SHARD=${2:-}
cargo test --workspace --test e2e -- --ignored --exact --nocapture sweep::all_of_the_suite
