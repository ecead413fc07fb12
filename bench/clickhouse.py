#!/usr/bin/env python3
"""A ClickHouse server for `tidelake-bench tpch --clickhouse http://127.0.0.1:PORT/`.

    npm pack @chdb/lib-linux-x64-gnu@26.7.3-stable.1 && tar xzf chdb-lib-*.tgz
    bench/clickhouse.py package/libchdb.so DIR PORT

The library's exported main is clickhouse-local's, which can listen. Stops with Ctrl-C.
"""

import ctypes
import sys

library, directory, port = sys.argv[1:]
query = (
    "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM system.numbers "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null"
)
args = ["clickhouse", f"--path={directory}", "--listen_host=127.0.0.1", f"--http_port={port}", f"--query={query}", "--", "--keep_alive_timeout=900"]
argv = (ctypes.c_char_p * len(args))(*[a.encode() for a in args])
sys.exit(ctypes.CDLL(library).chdb_query_cmdline(len(args), argv))
