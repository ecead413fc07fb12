#!/usr/bin/env bash
# Passes all tests on a fresh Debian machine with the Rust toolchain: installs what the tests need (real MariaDB and MySQL
# servers above all), then format, build, lints, tests and documentation. Stops at the first step that fails and names it.
set -euo pipefail
cd "$(dirname "$0")/.."

step_name="start"
step_begin=0
trap 'finished $?' EXIT

finished() {
  if [ "$1" = 0 ]; then
    printf '\n== all passed in %s\n' "$(minutes "$SECONDS")"
  else
    printf '\n== FAILED: %s (after %s)\n' "$step_name" "$(minutes "$SECONDS")" >&2
  fi
}

minutes() {
  printf '%d:%02d min' $(($1 / 60)) $(($1 % 60))
}

step() {
  step_name=$1
  shift
  step_begin=$SECONDS
  printf '\n== %s\n' "$step_name"
  "$@"
  printf '== %s: %s\n' "$step_name" "$(minutes $((SECONDS - step_begin)))"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "not root and without sudo: run as root once: $*" >&2
    return 1
  fi
}

# The programs the tests start, each with the Debian package that has it. The `-core` packages hold the server's
# program without a system service: nothing is started or kept running.
needed="
  mariadbd:mariadb-server-core
  mariadb-install-db:mariadb-server-core
  mariadb:mariadb-client-core
  setpriv:util-linux
  etcd:etcd-server
  zstd:zstd
  cc:gcc
  make:make
"

missing_packages() {
  local pair
  {
    for pair in $needed; do
      PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    # A client library that is tried as it is; of the system's Python, whatever other one is installed.
    /usr/bin/python3 -c 'import pymysql' 2>/dev/null || echo python3-pymysql
  } | sort -u
}

install_packages() {
  local missing
  missing=$(missing_packages)
  if [ -n "$missing" ]; then
    echo "installing:" $missing
    # A fresh machine has no package lists, an old one stale lists: fetch them when the first try fails.
    apt_install $missing || { as_root apt-get update -qq && apt_install $missing; }
    missing=$(missing_packages)
    [ -z "$missing" ] || { echo "still missing after the installation:" $missing >&2; return 1; }
  fi
  PATH="$PATH:/usr/sbin" mariadbd --version
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

rust_tools() {
  command -v cargo >/dev/null || { echo "cargo not found: install the Rust toolchain (https://rustup.rs)" >&2; return 1; }
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
  cargo --version
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

# Tests start servers of their own: more at once than there are cores only makes them late.
threads=$(nproc)
[ "$threads" -le 4 ] || threads=4

step "packages the tests need" install_packages
step "other servers the tests need" ./scripts/servers.sh
step "Rust tools" rust_tools
step "format" cargo fmt --all --check
step "build" cargo build --workspace --all-targets
step "lints" cargo clippy --workspace --all-targets -- -D warnings
step "tests" cargo test --workspace -- --test-threads="$threads"
step "documentation" documentation
