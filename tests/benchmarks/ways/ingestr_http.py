"""ingestr, from its HTTP source (one JSON file behind a URL) into DuckDB, merged by id.

Its HTTP source sends no headers of one's own, so that the key stands in the URL; the benchmark's
server takes it there, for this way only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

url, key, start, end, database = sys.argv[1:]

query = urlencode({"start": start, "end": end, "sort": "asc", "key": key})
command = [
    str(Path(sys.executable).with_name("ingestr")),
    *("ingest", "--yes", "--progress", "log"),
    *("--source-uri", f"{url}actions/events?{query}"),
    *("--source-table", "events#json"),
    *("--dest-uri", f"duckdb:///{database}"),
    *("--dest-table", "np6.events"),
    *("--incremental-strategy", "merge", "--primary-key", "id"),
]
# Version 1 loads DuckDB as a library, which it finds by ADBC's manifest.
drivers = Path(sys.prefix) / "etc" / "adbc" / "drivers"
environment = {**os.environ, "ADBC_DRIVER_PATH": str(drivers)}
sys.exit(subprocess.run(command, check=False, env=environment).returncode)
