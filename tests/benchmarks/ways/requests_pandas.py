"""requests and pandas: ``json_normalize``, then delete and insert by id in DuckDB."""

from __future__ import annotations

import sys

import duckdb
import pandas as pd
import requests

url, key, start, end, database = sys.argv[1:]

response = requests.get(
    f"{url}actions/events",
    params={"start": start, "end": end, "sort": "asc"},
    headers={"X-Key": key},
)
response.raise_for_status()
frame = pd.json_normalize(response.json(), sep="__").drop_duplicates("id", keep="last")

with duckdb.connect(database) as connection:
    connection.register("frame", frame)
    connection.execute("CREATE SCHEMA np6")
    connection.execute("CREATE TABLE np6.events AS FROM frame LIMIT 0")
    connection.execute("BEGIN")
    connection.execute("DELETE FROM np6.events WHERE id IN (SELECT id FROM frame)")
    connection.execute("INSERT INTO np6.events BY NAME FROM frame")
    connection.execute("COMMIT")
