#!/usr/bin/env python3
"""Writes expected.json: what the recorded server says at the end. `truth.py SOCKET QUERIES.SQL`.

`tables` holds per table the statement, its number of rows and the SHA-256 of the bytes that
`mariadb --batch --raw -N` prints for it (session time_zone +00:00); `queries` the three demo
queries with the text of every cell, NULL as null.
"""

import hashlib
import json
import subprocess
import sys
import xml.etree.ElementTree as xml

SOCKET, QUERIES = sys.argv[1:3]
CLIENT = ["mariadb", "--no-defaults", f"--socket={SOCKET}", "-uroot", "--default-character-set=utf8mb4"]
UTC = "--init-command=SET time_zone='+00:00'"

# A table without a key is ordered by all its columns.
ORDER = {
    "carts": "customer_id, product_id",
    "categories": "id",
    "customers": "id",
    "order_items": "order_id, line_no",
    "orders": "id",
    "page_views": "day, product_id, country, seconds",
    "payments": "id",
    "products": "id",
    "reviews": "id",
    "stock": "warehouse_id, product_id",
    "warehouses": "id",
}


def client(statement, *options):
    return subprocess.run(CLIENT + [UTC, *options, "-e", statement], check=True, capture_output=True).stdout


def table_truth(name):
    statement = f"SELECT * FROM shop.{name} ORDER BY {ORDER[name]}"
    text = client(statement, "--batch", "--raw", "-N")
    count = int(client(f"SELECT COUNT(*) FROM shop.{name}", "-N"))
    return {"table": name, "sql": statement, "rows": count, "sha256": hashlib.sha256(text).hexdigest()}


def query_truth(title, statement):
    rows, columns = [], []
    for row in xml.fromstring(client(statement, "--xml")).iter("row"):
        columns = [field.get("name") for field in row]
        rows.append([None if field.keys()[-1].endswith("nil") else field.text or "" for field in row])
    return {"title": title, "columns": columns, "rows": rows}


def queries(text):
    """Pairs of title and statement: a comment line, then everything up to the semicolon."""
    for part in text.split(";"):
        if part.strip():
            title, statement = part.strip().split("\n", 1)
            yield title.removeprefix("-- "), statement


def main():
    present = client("SELECT table_name FROM information_schema.tables WHERE table_schema='shop'", "-N").decode().split()
    if sorted(present) != sorted(ORDER):
        sys.exit(f"the server has other tables than this script: {present}")
    with open(QUERIES, encoding="utf-8") as file:
        asked = [query_truth(*query) for query in queries(file.read())]
    truth = {"tables": [table_truth(name) for name in sorted(ORDER)], "queries": asked}
    json.dump(truth, sys.stdout, ensure_ascii=False, indent=1)
    print()


main()
