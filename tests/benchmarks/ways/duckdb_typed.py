"""The better floor: DuckDB alone, into the same two typed tables, with no proof of anything.

One download, one pass over the JSON with the types given, an insert of what is not there yet in
place of a delete. No cursor, no contract, no ledger: what does not fit the columns is lost.
"""

from __future__ import annotations

import shutil
import sys

import duckdb
import requests

url, key, start, end, database = sys.argv[1:]

with requests.get(
    f"{url}actions/events",
    params={"start": start, "end": end, "sort": "asc"},
    headers={"X-Key": key},
    stream=True,
) as response:
    response.raise_for_status()
    with open("answer.json", "wb") as file:
        shutil.copyfileobj(response.raw, file, 1024 * 1024)

ACTIVATION = """STRUCT(id VARCHAR, kind VARCHAR, version VARCHAR,
    receiver STRUCT("type" VARCHAR, id VARCHAR, unicity VARCHAR, hash VARCHAR),
    stamp STRUCT("time" BIGINT, id VARCHAR, thread VARCHAR, "set" VARCHAR), recipient VARCHAR)"""
PRODUCT = 'STRUCT("type" VARCHAR, name VARCHAR, version VARCHAR, vendor VARCHAR)'
CLIENT = f"""STRUCT("type" VARCHAR, ip STRUCT("type" VARCHAR, value VARCHAR),
    ua STRUCT("type" VARCHAR, ua VARCHAR, client {PRODUCT},
        os STRUCT(name VARCHAR, family VARCHAR, vendor VARCHAR),
        device STRUCT("type" VARCHAR, name VARCHAR, brand VARCHAR)))"""
LINK = """STRUCT("type" VARCHAR, label VARCHAR, source VARCHAR, value VARCHAR,
    destination VARCHAR)"""
SOURCE = f'STRUCT("type" VARCHAR, detail STRUCT(activation {ACTIVATION}, link {LINK},' + (
    f" client {CLIENT}))"
)
COLUMNS = f"""{{'type': 'VARCHAR', 'id': 'VARCHAR', 'timestamp': 'BIGINT',
    'identity': 'STRUCT(agency VARCHAR, customer VARCHAR)', 'source': '{SOURCE}'}}"""

EVENTS = """id, "type", source.detail.link."type" AS subtype,
    make_timestamptz("timestamp" * 1000) AS "timestamp", source."type" AS channel,
    identity.agency AS agency, identity.customer AS customer,
    source.detail.activation.id AS action_id, source.detail.activation.kind AS action_kind,
    source.detail.activation.version AS action_version,
    source.detail.activation.receiver."type" AS contact_type,
    source.detail.activation.receiver.id AS contact_id,
    source.detail.activation.receiver.unicity AS contact_unicity,
    source.detail.activation.receiver.hash AS contact_hash,
    source.detail.activation.recipient AS recipient,
    lower(split_part(source.detail.activation.recipient, '@', 2)) AS recipient_domain,
    source.detail.activation.stamp.id AS message_id,
    source.detail.activation.stamp.thread AS message_thread_id,
    source.detail.activation.stamp."set" AS message_set_id,
    make_timestamptz(source.detail.activation.stamp."time" * 1000) AS message_stamped_at"""
HITS = """id AS event_id, make_timestamptz("timestamp" * 1000) AS "timestamp",
    source.detail.link."type" AS link_type, source.detail.link.label AS link_label,
    source.detail.link.source AS link_source, source.detail.link.value AS link_value,
    source.detail.link.destination AS link_destination,
    source.detail.client."type" AS client_type, source.detail.client.ip."type" AS client_ip_version,
    source.detail.client.ip.value AS client_ip, source.detail.client.ua."type" AS user_agent_type,
    source.detail.client.ua.ua AS user_agent, source.detail.client.ua.client."type" AS browser_type,
    source.detail.client.ua.client.name AS browser_name,
    source.detail.client.ua.client.version AS browser_version,
    source.detail.client.ua.client.vendor AS browser_vendor,
    source.detail.client.ua.os.name AS os_name, source.detail.client.ua.os.family AS os_family,
    source.detail.client.ua.os.vendor AS os_vendor,
    source.detail.client.ua.device."type" AS device_type,
    source.detail.client.ua.device.name AS device_name,
    source.detail.client.ua.device.brand AS device_brand"""

with duckdb.connect(database) as connection:
    read = f"read_json('answer.json', format = 'array', columns = {COLUMNS})"
    connection.execute("CREATE SCHEMA np6")
    connection.execute(f"CREATE TEMP TABLE answer AS FROM {read}")
    for table, columns, name in (("events", EVENTS, "id"), ("events__hits", HITS, "event_id")):
        connection.execute(f"CREATE TABLE np6.{table} AS SELECT {columns} FROM answer LIMIT 0")
        connection.execute(
            f"INSERT INTO np6.{table} SELECT * FROM (SELECT {columns} FROM answer"
            f" WHERE \"type\" = 'hit') ANTI JOIN np6.{table} USING ({name})"
        )
