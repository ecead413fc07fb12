#!/usr/bin/env bash
# Records the demo: runs the shop workload on a real MariaDB 10.11 of its own and keeps the binlog.
# Needs: mariadb-server, mariadb-client, python3, zstd. Writes binlog/*.zst and expected.json.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
  rm -rf "$work"
}
trap stop EXIT

as_root=()
[ "$(id -u)" != 0 ] || as_root=(--user=root)

mariadb-install-db --no-defaults --datadir="$work/data" --auth-root-authentication-method=normal \
  --skip-test-db "${as_root[@]}" >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2; exit 1; }

# Statement texts are left out of the log (they would double it); everything else is what Tidelake
# asks of an upstream.
mariadbd --no-defaults "${as_root[@]}" --datadir="$work/data" --socket="$work/sock" --skip-networking \
  --server-id=1 --log-bin="$work/shop-bin" --binlog-format=ROW --binlog-row-image=FULL \
  --binlog-row-metadata=FULL --binlog-checksum=CRC32 --binlog-annotate-row-events=OFF \
  --max-binlog-size=1G --innodb-flush-log-at-trx-commit=0 --sync-binlog=0 --default-time-zone=+00:00 \
  >"$work/server.log" 2>&1 &
server=$!

client=(mariadb --no-defaults --socket="$work/sock" -uroot --default-character-set=utf8mb4)
for _ in $(seq 100); do
  "${client[@]}" -e 'SELECT 1' >/dev/null 2>&1 && break
  kill -0 "$server" || { cat "$work/server.log" >&2; exit 1; }
  sleep 0.1
done

echo "recording on $("${client[@]}" -N -e 'SELECT VERSION()')"
time python3 workload.py "${1:-20240101}" | "${client[@]}"
python3 truth.py "$work/sock" queries.sql >"$work/expected.json"

kill "$server"
wait "$server" || true
server=

mkdir -p binlog
rm -f binlog/*
for log in "$work"/shop-bin.[0-9]*; do
  zstd -q -19 --long=24 "$log" -o "binlog/$(basename "$log").zst"
done
mv "$work/expected.json" expected.json
chmod 644 binlog/*
changes=$(for log in "$work"/shop-bin.[0-9]*; do
  mariadb-binlog --no-defaults --verbose --base64-output=DECODE-ROWS "$log"
done | grep -cE '^### (INSERT INTO|UPDATE|DELETE FROM) ')
echo "$changes row changes, $(cat "$work"/shop-bin.[0-9]* | wc -c) bytes, compressed:"
ls -l binlog
