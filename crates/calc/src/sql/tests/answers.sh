#!/bin/sh
# Writes answers.txt: what a real MariaDB answers to each line of queries.sql. Usage: answers.sh SOCKET
cd "$(dirname "$0")" || exit 1
run() { mariadb -uroot -S "$1" --default-character-set=utf8mb4 -B "$2" -e "SET time_zone='+00:00', sql_mode=''; $3" 2>&1; }
mariadb -uroot -S "$1" --default-character-set=utf8mb4 < setup.sql || exit 1
while IFS= read -r query; do
  printf '%s\n----\n' "$query"
  run "$1" shop "$query"
  printf '====\n'
done < queries.sql > answers.txt
