"""Every table and column: type, payload path, meaning. The one source of truth.

The transform that DuckDB runs, the Arrow schemas, dlt's hints, the drift check and the data
dictionary are all derived from here: a column is added by adding a line.

Paths are the keys of an event's JSON, joined by dots. A column with several paths takes the value
of the first that has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

TDataType = Literal["text", "timestamp", "bigint", "bool", "json"]
TPersonal = Literal[
    "no",
    "address",
    "domain",
    "contact_id",
    "contact_hash",
    "ip",
    "user_agent",
    "url",
    "free",
    "record",
]
TDisposition = Literal["merge", "append"]


@dataclass(frozen=True)
class Path:
    """Where in an event's payload a value is.

    Attributes:
        path: Keys joined by dots.
        when: Other path and the value it must have for this one to apply, for fields whose
            meaning a discriminator decides.
    """

    path: str
    when: tuple[str, str] | None = None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Column name, snake_case.
        data_type: dlt data type. A ``timestamp`` is UTC; in payloads it is milliseconds since the
            epoch.
        description: What it holds, for the analyst.
        paths: Payload paths, first value wins. Empty for columns that the connector computes.
        personal: What the value says of a person: the ``address`` of a contact or its ``domain``,
            its ``contact_id`` or ``contact_hash``, an ``ip``, a ``user_agent``, a ``url`` that may
            carry an address, ``free`` text that may hold anything, a ``record`` that leads to a
            person through NP6 alone; or ``no``.
        nullable: Whether it may be NULL.
        derived: The column repeats a value that another column holds; it does not account for
            its payload paths in the drift check.
        takes_list: A list of texts in place of a text is known: one is itself, several are a JSON
            array.
    """

    name: str
    data_type: TDataType
    description: str
    paths: tuple[Path, ...] = ()
    personal: TPersonal = "no"
    nullable: bool = True
    derived: bool = False
    takes_list: bool = False

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of the column in the batches handed to dlt."""
        if self.data_type == "timestamp":
            return pa.timestamp("us", tz="UTC")
        if self.data_type == "bool":
            return pa.bool_()
        return pa.int64() if self.data_type == "bigint" else pa.string()


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: Table name.
        description: One row per what.
        key: Columns that identify a row.
        columns: The columns, in order.
        row_types: For tables with at most one row per event: event types that always have one.
            Events of other types have one as soon as a column of the table's own has a value.
        disposition: How dlt writes it.
        replaced_by: Column by which all earlier rows go when newer ones arrive, where rows of a
            newer version may be fewer.
        cluster_by: Columns that queries filter by most often beside the time, most often first.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    row_types: tuple[str, ...] = ()
    disposition: TDisposition = "merge"
    replaced_by: str | None = None
    cluster_by: tuple[str, ...] = ()

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of the batches handed to dlt."""
        return pa.schema(
            [pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns]
        )

    @property
    def is_child(self) -> bool:
        """Whether rows belong to a row of ``events``."""
        return "event_id" in self.key

    @property
    def partition_by(self) -> str | None:
        """The column by whose day, or a longer span, destinations that partition do so."""
        return TIMESTAMP.name if TIMESTAMP in self.columns else None


def text(name: str, description: str, *paths: str | Path, **options: object) -> Column:
    """A text column at the given payload paths."""
    return _column(name, "text", description, paths, options)


def moment(name: str, description: str, *paths: str | Path, **options: object) -> Column:
    """A UTC timestamp column, from milliseconds since the epoch at the given payload paths."""
    return _column(name, "timestamp", description, paths, options)


def number(name: str, description: str, *paths: str | Path, **options: object) -> Column:
    """An integer column at the given payload paths."""
    return _column(name, "bigint", description, paths, options)


def flag(name: str, description: str, *paths: str | Path, **options: object) -> Column:
    """A true-or-false column at the given payload paths."""
    return _column(name, "bool", description, paths, options)


def _column(
    name: str,
    data_type: TDataType,
    description: str,
    paths: tuple[str | Path, ...],
    options: dict[str, object],
) -> Column:
    as_paths = tuple(Path(path) if isinstance(path, str) else path for path in paths)
    return Column(name, data_type, description, as_paths, **options)  # type: ignore[arg-type]


DETAIL = "source.detail"
ACTIVATION = f"{DETAIL}.activation"
EXECUTION = f"{DETAIL}.execution"
LINK = f"{DETAIL}.link"
CLIENT = f"{DETAIL}.client"
AGENT = f"{CLIENT}.ua"
BOUNCE = f"{DETAIL}.bounce"
CANCELLATION = f"{DETAIL}.cancellation"
EXECUTION_DATA = f"{EXECUTION}.data"

PERSONS = (f"{ACTIVATION}.receiver", f"{EXECUTION}.recipient")
"""The objects that say who an event is about: ``receiver`` of an activation, ``recipient`` of an
execution. (An activation's own ``recipient`` is the address as text.)"""


def _person(field: str) -> tuple[Path, ...]:
    """Paths of one field of a contact.

    A footprint has it by name, a receiver of the field's own type as its value; a ``contact`` (push
    notifications) holds either.
    """
    return tuple(
        path
        for person in PERSONS
        for path in (
            Path(f"{person}.{field}"),
            Path(f"{person}.value.{field}", when=(f"{person}.type", "contact")),
            Path(f"{person}.value.value", when=(f"{person}.value.type", field)),
            Path(f"{person}.value", when=(f"{person}.type", field)),
        )
    )


REQUESTED_AT = moment(
    "requested_at",
    "When the response that holds this row was requested; the version of a row that was requested"
    " last is kept",
    nullable=False,
)
EVENT_ID = text(
    "event_id", "The event this row belongs to, events.id", "id", nullable=False, personal="record"
)
TIMESTAMP = moment(
    "timestamp",
    "When NP6 published the event; the cursor of every load",
    "timestamp",
    nullable=False,
)
AGENCY = text("agency", "The account's agency", "identity.agency")
CUSTOMER = text(
    "customer", "The account's customer number, with leading zeros", "identity.customer"
)

EVENTS = Table(
    "events",
    "One row per event, whatever operation returned it",
    key=("id",),
    cluster_by=("type", "action_id"),
    columns=(
        text("id", "The event's uuid", "id", nullable=False, personal="record"),
        text("type", "execution, activation, cancellation, bounce, hit, reply …", "type"),
        text(
            "subtype",
            "The link type of a hit, the verdict of a bounce, the type of a cancellation",
            f"{LINK}.type",
            f"{BOUNCE}.analysis.verdict",
            f"{CANCELLATION}.type",
            derived=True,
        ),
        TIMESTAMP,
        text("channel", "email, sms, notification, display …", "source.type"),
        AGENCY,
        CUSTOMER,
        text(
            "action_id",
            "The action (e-mail, SMS), notification or display the event belongs to",
            f"{ACTIVATION}.id",
            f"{EXECUTION}.id",
        ),
        text(
            "action_kind",
            "message, application …",
            f"{ACTIVATION}.kind",
            f"{EXECUTION}.kind",
        ),
        text(
            "action_version",
            "Version (uuid) of a notification",
            f"{ACTIVATION}.version",
            f"{EXECUTION}.version",
        ),
        text(
            "contact_type",
            "How NP6 names the contact: footprint, id, contact …",
            *(f"{person}.type" for person in PERSONS),
        ),
        text("contact_id", "The contact's id", *_person("id"), personal="contact_id"),
        text(
            "contact_unicity",
            "The value that identifies the contact, usually the e-mail address; a JSON array if"
            " there are several",
            *_person("unicity"),
            personal="address",
            takes_list=True,
        ),
        text("contact_hash", "Hash of the unicity", *_person("hash"), personal="contact_hash"),
        text(
            "recipient",
            "The address the message went to",
            f"{ACTIVATION}.recipient",
            personal="address",
        ),
        text(
            "recipient_domain",
            "Domain of the recipient, in lower case; NULL where the recipient is no e-mail address",
            derived=True,
            personal="domain",
        ),
        text(
            "message_id",
            "The message (stamp id); joins hits and bounces to their activation",
            f"{ACTIVATION}.stamp.id",
            f"{EXECUTION}.stamp.id",
            personal="record",
        ),
        text(
            "message_thread_id",
            "Thread of the message's stamp",
            f"{ACTIVATION}.stamp.thread",
            f"{EXECUTION}.stamp.thread",
            personal="record",
        ),
        text(
            "message_set_id",
            "Set of the message's stamp",
            f"{ACTIVATION}.stamp.set",
            f"{EXECUTION}.stamp.set",
        ),
        moment(
            "message_stamped_at",
            "When the message's stamp was made",
            f"{ACTIVATION}.stamp.time",
            f"{EXECUTION}.stamp.time",
        ),
        text(
            "unmapped",
            "Fields of the event that have no column, as JSON text; NULL if there are none",
            personal="free",
        ),
        REQUESTED_AT,
    ),
)

HITS = Table(
    "events__hits",
    "One row per hit: an open, a click, a form, an unsubscription or a mirror page",
    key=("event_id",),
    row_types=("hit",),
    cluster_by=("link_type",),
    columns=(
        EVENT_ID,
        TIMESTAMP,
        text("link_type", "open, redirection, form, unsubscribe, mirror", f"{LINK}.type"),
        text("link_label", "Name of the tracked link", f"{LINK}.label", personal="free"),
        text("link_source", "Part of the message that holds the link: html …", f"{LINK}.source"),
        text("link_value", "The form's id, for a hit on a form", f"{LINK}.value"),
        text(
            "link_destination",
            "The URL, for a redirection",
            f"{LINK}.destination",
            personal="url",
        ),
        text("client_type", "web …", f"{CLIENT}.type"),
        text("client_ip_version", "v4 …", f"{CLIENT}.ip.type"),
        text("client_ip", "IP address of the client", f"{CLIENT}.ip.value", personal="ip"),
        text("user_agent_type", "parsed …", f"{AGENT}.type"),
        text("user_agent", "The user agent as sent", f"{AGENT}.ua", personal="user_agent"),
        text("browser_type", "Mobile browser …", f"{AGENT}.client.type"),
        text("browser_name", "Chrome Mobile …", f"{AGENT}.client.name"),
        text("browser_version", "Version of the browser", f"{AGENT}.client.version"),
        text("browser_vendor", "Vendor of the browser", f"{AGENT}.client.vendor"),
        text("os_name", "Android 10 …", f"{AGENT}.os.name"),
        text("os_family", "Android …", f"{AGENT}.os.family"),
        text("os_vendor", "Vendor of the system", f"{AGENT}.os.vendor"),
        text("device_type", "Smartphone …", f"{AGENT}.device.type"),
        text("device_name", "Model of the device", f"{AGENT}.device.name"),
        text("device_brand", "Brand of the device", f"{AGENT}.device.brand"),
        REQUESTED_AT,
    ),
)

BOUNCES = Table(
    "events__bounces",
    "One row per bounce",
    key=("event_id",),
    row_types=("bounce",),
    columns=(
        EVENT_ID,
        TIMESTAMP,
        text("status_type", "sync …", f"{BOUNCE}.status.type"),
        text(
            "status_code_enhanced",
            "Enhanced mail system status code (RFC 3463), as text",
            f"{BOUNCE}.status.code.enhanced",
        ),
        text(
            "diagnostic",
            "What the receiving server said; may quote the address",
            f"{BOUNCE}.status.diagnostic",
            personal="free",
        ),
        text("mta", "The mail server that said so", f"{BOUNCE}.status.mta", personal="domain"),
        text("verdict", "hard or soft", f"{BOUNCE}.analysis.verdict"),
        text("subject_type", "What the bounce is about", f"{BOUNCE}.analysis.subject.type"),
        text(
            "subject_detail_type",
            "The same in more detail",
            f"{BOUNCE}.analysis.subject.detail.type",
        ),
        REQUESTED_AT,
    ),
)

CANCELLATIONS = Table(
    "events__cancellations",
    "One row per cancellation",
    key=("event_id",),
    row_types=("cancellation",),
    columns=(
        EVENT_ID,
        TIMESTAMP,
        text("cancellation_type", "redlisted target …", f"{CANCELLATION}.type"),
        text("value_type", "For a user defined policy: render …", f"{CANCELLATION}.value.type"),
        text(
            "value_message",
            "The policy's message",
            f"{CANCELLATION}.value.message",
            personal="free",
        ),
        REQUESTED_AT,
    ),
)


@dataclass(frozen=True)
class Tombstone:
    """Marks a row which only says that its event has no rows any more; no destination keeps it.

    Attributes:
        column: The column that has the mark.
        value: The mark.
    """

    column: str
    value: str


TOMBSTONE = Tombstone("value_type", "none")
"""Of an execution whose data object is empty: earlier keys go, and no row comes in their place."""

EXECUTION_DATA_TABLE = Table(
    "events__execution_data",
    "One row per key of the free data object that the sender attached to an execution",
    key=("event_id", "key"),
    replaced_by="event_id",
    cluster_by=("key",),
    columns=(
        EVENT_ID,
        text("key", "The key", nullable=False),
        TIMESTAMP,
        text(
            "value",
            "The value as text; objects and arrays as JSON text",
            personal="free",
        ),
        text("value_type", "string, integer, number, boolean, object, array or null"),
        REQUESTED_AT,
    ),
)

CAMPAIGNS = Table(
    "events__campaigns",
    "One row per event and campaign it was loaded through",
    key=("event_id", "campaign_id"),
    columns=(
        EVENT_ID,
        text("campaign_id", "The campaign's uuid", nullable=False),
        TIMESTAMP,
        REQUESTED_AT,
    ),
)

ROBOTS = Table(
    "events__robots",
    "One row per hit that NP6 classified as a robot's; only requests for a robot class make rows",
    key=("event_id",),
    row_types=("hit",),
    columns=(
        EVENT_ID,
        text("robot_class", "The class that was requested: mpp, gsr, genericrobot", nullable=False),
        TIMESTAMP,
        REQUESTED_AT,
    ),
)

REJECTED_EVENTS = Table(
    "rejected_events",
    "One row per event that could not be taken, where bad_events says to keep such; one that is"
    " read again has another row",
    key=(),
    disposition="append",
    columns=(
        text("resource", "The resource", nullable=False),
        text(
            "scope_id",
            "The id the window was loaded for (a digest where the id is an address or a hash);"
            " empty where the resource covers the whole account",
            nullable=False,
        ),
        moment("window_start", "Start of the window, inclusive", nullable=False),
        moment("window_end", "End of the window, exclusive", nullable=False),
        text("reason", "Why the event could not be taken", nullable=False),
        text(
            "content", "The event as NP6 sent it; the beginning of a very long one", personal="free"
        ),
        moment("requested_at", "When the response that holds it was requested", nullable=False),
    ),
)

LOAD_WINDOWS = Table(
    "load_windows",
    "One row per completed window, in the load package of its events: with _dlt_loads it proves"
    " what was covered. A response has several rows where its window is cut: at the moment up to"
    " which an earlier one has read, and at UTC midnights of the last 35 days (not for operations"
    " over contacts, unless they are read again)",
    key=("resource", "scope_id", "classification", "window_start", "window_end", "requested_at"),
    disposition="append",
    columns=(
        text("resource", "The resource", nullable=False),
        text(
            "scope_id",
            "The id the window was loaded for (a digest where the id is an address or a hash);"
            " empty where the resource covers the whole account",
            nullable=False,
        ),
        text(
            "classification",
            "Class of robots that was requested; empty: a request without (NULL in rows of versions"
            " that did not tell classes apart)",
        ),
        moment("window_start", "Start of the window, inclusive", nullable=False),
        moment("window_end", "End of the window, exclusive", nullable=False),
        moment("requested_at", "When the window was requested", nullable=False),
        number("event_count", "Events of the window in the response"),
        number("byte_count", "Size of the response, uncompressed; the first of its rows has it"),
        number("duration_ms", "Milliseconds from the request to the last byte, likewise"),
        text("request_id", "NP6's x-request-id, to quote to the support"),
        text(
            "purpose",
            "What the response was read for: load, backfill of a given span, fill of a gap, part of"
            " a backfill, recheck of days; joined: several rows of a day long past, added up",
        ),
        number("distinct_count", "Different ids among the events of the window"),
        number("outside_count", "Events outside the span that was requested; they are kept"),
        text(
            "type_counts",
            "JSON: events of the window by type, types that the contract does not know included",
        ),
        text(
            "unmapped_paths",
            "JSON: events of the window that hold a value without a column, by payload path; 50"
            " paths at most, and ~ for a key that may be of a person",
        ),
        text("table_counts", "JSON: rows of the response by table; the first of its rows has it"),
        text(
            "key_digest",
            "A digest of the API's address and key: several accounts in one dataset are told apart"
            " by it; NULL in rows of versions that did not",
        ),
        number("new_count", "Events that the tables lacked; NULL where that was not compared"),
        text(
            "_dlt_load_id",
            "The load package; it is complete, and its windows proven, once _dlt_loads has it"
            " with status 0",
            nullable=False,
        ),
        text(
            "policy",
            "The policy for personal data that the window was loaded under: the classes that are"
            " not kept, and by which key; NULL where everything is kept",
        ),
    ),
)

LATENESS = Table(
    "lateness",
    "One row per day read again and delay: how many events had come later than the readings before,"
    " by how much at most. A day that had none has one row with the bucket none, if a load had"
    " first read it within a day",
    key=("resource", "scope_id", "classification", "measured_at", "day", "bucket"),
    disposition="append",
    columns=(
        text("resource", "The resource", nullable=False),
        text("scope_id", "The id, as in load_windows; empty for the account", nullable=False),
        text("classification", "Class of robots that was requested; empty: a request without"),
        moment("measured_at", "When the day was read again", nullable=False),
        moment("day", "Start of the day, UTC", nullable=False),
        number("age_days", "Whole days from the end of the day to the reading"),
        text(
            "bucket",
            "How late the events became visible after their timestamp, at most: 10m, 1h, 6h, 1d,"
            " 2d, 4d, 8d, 16d, 32d, more; none: no event was late",
            nullable=False,
        ),
        number("late_events", "Events of that delay that the tables lacked"),
        number("events_read_again", "Events of the day in the response"),
        text("_dlt_load_id", "The load package", nullable=False),
    ),
)

EVENT_TABLES = (EVENTS, HITS, BOUNCES, CANCELLATIONS, EXECUTION_DATA_TABLE, CAMPAIGNS, ROBOTS)
"""The tables that hold events."""

TABLES = (*EVENT_TABLES, REJECTED_EVENTS, LOAD_WINDOWS, LATENESS)
"""All tables."""

EXPECTED_VALUES: tuple[tuple[Path, tuple[str, ...]], ...] = (
    (Path("identity.type"), ("customer",)),
    *(
        (
            Path(f"{person}.value.type", when=(f"{person}.type", "contact")),
            ("footprint", "id", "unicity", "hash"),
        )
        for person in PERSONS
    ),
)
"""Fields without a column of their own, with the values the contract knows. Another value is drift
and goes to ``events.unmapped``."""
