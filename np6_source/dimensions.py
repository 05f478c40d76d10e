"""The dimensions: operations that give names to ids, one row each, and their tables.

None is selected unless named (``np6_source(dimensions=[...])``, ``with_resources``). A row says
how to call an operation and what its table holds; the resource, its requests, the sandbox's route,
the tests and the data dictionary follow from the row. Paths are those of the element's JSON, joined
by dots; an empty path is the element itself, ``KEY`` the key under which it is, ``AS_JSON`` its JSON
text.

An operation over the whole account gives a snapshot: what the response no longer holds leaves the
table. One over ids says something about these ids only: other rows stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .endpoints import TIdParameter
from .errors import SettingError, did_you_mean
from .schema import REQUESTED_AT, Column, Path, Table, flag, moment, number, text

KEY = "\0key"
"""In place of a path: the key of the object under which the element is."""

AS_JSON = "\0json"
"""In place of a path: the element as JSON text, whatever it is."""

SECRET = (
    *(
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "credential",
    ),
    *(
        "certificate",
        "privatepem",
        "signature",
        "authoriz",
        "authentic",
        "bearer",
        "cookie",
        "session",
    ),
    *("serviceaccount", "connectionstring"),
)
"""What the name of a field that is never loaded has in it, at whatever depth; without ``_``, ``-``
and blanks, and in lower case."""

SECRET_WORDS = frozenset(
    {"pass", "auth", "jwt", "sas", "pin", "otp", "p8", "p12", "pfx", "pem", "dsn"}
)
"""Words that are not in the name of a field that is loaded: parts of longer ones are."""

SECRET_VALUE = (
    r"-----BEGIN |\bBearer [\w.~+/-]{8}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}"
    r"|[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@]*:[^\s/?#@]+@"
)
"""A regular expression: texts that are not loaded, whatever their field is called: a key's file, a
token, a url with a password."""

ACCOUNT = text(
    "account",
    "The account the row was loaded from, as the setting account names it; empty where the dataset"
    " holds one account",
    nullable=False,
)
UNMAPPED = text(
    "unmapped",
    "What the response holds beyond the known fields, as JSON text, without keys and other secrets;"
    " NULL if nothing is left",
    personal="free",
)


@dataclass(frozen=True)
class Children:
    """Rows that a part of an element makes in a table of its own.

    Attributes:
        table: The table; the first columns of its key are ``account`` and the parent's id.
        path: Path in the parent of an array, or of an object whose values are the elements.
        constants: Values of columns that this path implies.
    """

    table: Table
    path: str
    constants: tuple[tuple[str, str | bool], ...] = ()

    @property
    def parent_column(self) -> str:
        """The column that holds the parent's id."""
        return self.table.key[1]


@dataclass(frozen=True)
class Dimension:
    """One operation that describes things of the account.

    Attributes:
        name: Name of the resource.
        path: Path below the base URL, with ``{id}`` in place of the id.
        table: Its table.
        children: Further tables that its elements fill.
        ids: Name of the ``np6_source`` argument that gives the ids. None: the whole account.
        id_query: Name of the query parameter that carries the id, where it is not in the path.
        gives: What a response is: an ``array`` of elements, or one ``object``.
        constants: Values of columns that the operation implies.
        without: Paths of which nothing is loaded but what has a column.
        accept: The media type of its responses.
        deprecated: The reference flags it as deprecated.
        documented: The reference shows its response. False: its existence or shape is inferred.
    """

    name: str
    path: str
    table: Table
    children: tuple[Children, ...] = ()
    ids: str | None = None
    id_query: TIdParameter | None = None
    gives: Literal["array", "object"] = "array"
    constants: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    accept: str = "application/json"
    deprecated: bool = False
    documented: bool = True

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables it fills, each once."""
        return tuple(dict.fromkeys((self.table, *(c.table for c in self.children))))

    @property
    def replaced_by(self) -> tuple[str, ...]:
        """Columns by whose values earlier rows of its table go when newer ones arrive."""
        if self.ids is not None:
            return self.table.key
        return ("account", *(name for name, _ in self.constants))

    @property
    def is_about_contacts(self) -> bool:
        """Whether its rows are about persons."""
        return self.path.startswith("/targets")

    @property
    def ids_are_personal(self) -> bool:
        """Whether an id of this operation identifies a person by itself (an address, a hash)."""
        return self.id_query in ("unicity", "hash")

    @property
    def ids_are_of_contacts(self) -> bool:
        """Whether an id of this operation is a contact's, of whatever kind."""
        return self.ids is not None and self.is_about_contacts

    def replaced_in_child_by(self, child: Table) -> tuple[str, ...]:
        """The same for one of its children's tables."""
        return child.key[:2] if self.ids is not None else ("account",)


def _table(name: str, description: str, *columns: Column, key: tuple[str, ...] = ("id",)) -> Table:
    return Table(
        name,
        description,
        ("account", *key),
        (ACCOUNT, *columns, UNMAPPED, REQUESTED_AT),
    )


def _child(name: str, description: str, key: tuple[str, ...], *columns: Column) -> Table:
    return Table(name, description, ("account", *key), (ACCOUNT, *columns, REQUESTED_AT))


_ACTION_COLUMNS = (
    text("id", "The action's id, events.action_id", "id", nullable=False),
    text("type", "mailCampaign, mailMessage, smsCampaign, smsMessage …", "type"),
    text("name", "The action's name", "name"),
    moment("created_at", "When the action was created", "creationDate"),
    number("folder_id", "The folder it is in", "informations.folder"),
    number("category_id", "Its category, categories.id", "informations.category"),
    number(
        "state",
        "10 creation, 20 created, 38 asking validation, 40 waiting for validation, 50 validated,"
        " 90 deleted, 100 archived; others are not documented",
        "informations.state",
        "state",
    ),
    text("templating_version", "Version of the template language", "settings.templating.version"),
    text("scheduler_type", "How it is scheduled: asap …", "scheduler.type"),
    moment("starts_at", "When sending starts", "scheduler.startDate"),
    moment("ends_at", "When sending ends", "scheduler.endDate"),
    moment("last_sent_at", "When a message of it was last sent", "monitor.lastSent.at"),
)

ACTIONS = _table(
    "actions", "One row per action (e-mail or SMS message) of the account", *_ACTION_COLUMNS
)

ACTION = _table(
    "action",
    "One row per action that was loaded by its id, with what the list of actions leaves out",
    *_ACTION_COLUMNS,
    text("description", "The action's description", "description"),
    text("subject", "Subject of the e-mail", "content.subject"),
    text("sender_label", "Name the e-mail comes from", "content.headers.from.label"),
    text("sender_domain", "Domain the e-mail comes from", "content.headers.from.domain"),
)

ACTION_SEGMENTS = _child(
    "action__segments",
    "One row per segment that an action is sent to, or that is excluded from it",
    ("action_id", "segment_id", "is_excluded"),
    text("action_id", "The action, action.id", nullable=False),
    number("segment_id", "The segment, segments.id", "", "id", nullable=False),
    flag("is_excluded", "Whether its contacts are left out", nullable=False),
)

CATEGORIES = _table(
    "categories",
    "One row per category of actions",
    number("id", "The category's id, actions.category_id", "id", nullable=False),
    text("name", "The category's name", "name"),
    text("description", "Its description", "description"),
    moment("created_at", "When it was created", "creationDate"),
)

SEGMENTS = _table(
    "segments",
    "One row per segment of contacts",
    number("id", "The segment's id", "id", nullable=False),
    text("type", "static or dynamic", "type"),
    text("name", "The segment's name", "name"),
    text("description", "Its description", "description"),
    number("parent_id", "The segment it is a part of, segments.id", "parentId"),
    moment("created_at", "When it was created", "creation"),
    moment("expires_at", "When it expires", "expiration"),
    flag("is_test", "Whether it holds test contacts", "isTest"),
    number("estimated_contacts", "About how many contacts it has, by NP6", "targetsCount"),
)

FIELDS = _table(
    "fields",
    "One row per field that a contact can have",
    number("id", "The field's id, targets__fields.field_id", "id", nullable=False),
    text("type", "textField, email, phone, date, numeric, singleSelectList …", "type"),
    text("name", "The field's name", "name"),
    flag("is_unicity", "Whether it identifies a contact", "isUnicity"),
    flag("is_mandatory", "Whether every contact has a value", "isMandatory"),
    flag("is_criterion", "Whether segments can be made by it", "isCriterion"),
    number("constraint_operator", "Operator of its constraint, 0 to 5", "constraint.operator"),
    text("constraint_value", "Value of its constraint", "constraint.value"),
    number("value_list_id", "The list its values are from, value_lists.id", "valueListId"),
)

VALUE_LISTS = _table(
    "value_lists",
    "One row per list of values that a field can have",
    number("id", "The list's id, fields.value_list_id", "id", nullable=False),
    text("name", "The list's name", "name"),
    flag("is_ordered", "Whether the order of the values means something", "ordered"),
)

VALUE_LIST_VALUES = _child(
    "value_lists__values",
    "One row per value of a list",
    ("value_list_id", "index"),
    number("value_list_id", "The list, value_lists.id", nullable=False),
    number("index", "Position of the value in the list", "index", nullable=False),
    text("value", "The value", "value"),
)

NOTIFICATIONS = _table(
    "notifications",
    "One row per push notification",
    number("id", "The notification's id; as text in events.action_id", "id", nullable=False),
    text("type", "push-app …", "type"),
    text("name", "The notification's name", "name"),
    text("description", "Its description", "description"),
    moment("created_at", "When it was created", "stamp.creation", "stamp.creation.date"),
    moment(
        "modified_at", "When it was last changed", "stamp.modification", "stamp.modification.date"
    ),
    flag("is_active", "Whether it is active", "active"),
    flag("is_urgent", "Whether it is urgent", "settings.urgent"),
    text("purpose", "What it is for", "settings.purpose"),
    text("application_id", "The application it goes to, applications.id", "application"),
    text("task_id", "The task that sends it", "task.id"),
)

NOTIFICATION_VERSIONS = _child(
    "notifications__versions",
    "One row per version of a push notification",
    ("notification_id", "version_id"),
    number("notification_id", "The notification, notifications.id", nullable=False),
    text("version_id", "The version's uuid, events.action_version", "id", "", nullable=False),
)


def _campaigns(name: str, description: str) -> tuple[Table, Children]:
    table = _table(
        name,
        description,
        text("id", "The campaign's uuid, events__campaigns.campaign_id", "id", nullable=False),
        text("name", "The campaign's name", "name"),
        text("description", "Its description", "description"),
        moment("starts_at", "When it starts", "startDate"),
        moment("ends_at", "When it ends", "endDate"),
        moment("created_at", "When it was created", "creationDate"),
        moment("updated_at", "When it was last changed", "updateDate"),
    )
    items = _child(
        f"{name}__items",
        "One row per item of a campaign. NP6 numbers items in a way of its own: not events.action_id",
        ("campaign_id", "item_type", "item_id"),
        text("campaign_id", f"The campaign, {name}.id", nullable=False),
        text("item_type", "What the item is", "type", nullable=False),
        number("item_id", "The item's number", "id", nullable=False),
    )
    return table, Children(items, "items")


CAMPAIGNS, CAMPAIGNS_ITEMS = _campaigns("campaigns", "One row per campaign of the account")
CAMPAIGN, CAMPAIGN_ITEMS = _campaigns("campaign", "One row per campaign that was loaded by its id")

APPLICATIONS = _table(
    "applications",
    "One row per mobile application that gets push notifications",
    text("id", "The application's uuid", "id", nullable=False),
    text("type", "native …", "type"),
    text("name", "The application's name", "name"),
    text("description", "Its description", "description"),
    flag("is_active", "Whether it is active", "active"),
    moment("created_at", "When it was created", "stamp.creation", "stamp.creation.date"),
    moment(
        "modified_at", "When it was last changed", "stamp.modification", "stamp.modification.date"
    ),
)

PRESSURE_TOPICS = _table(
    "pressure_topics",
    "One row per topic of marketing pressure",
    text("id", "The topic's uuid", "id", nullable=False),
    text("label", "The topic's label", "label"),
    text("description", "Its description", "description"),
    moment("created_at", "When it was created", "stamp.creation", "stamp.creation.date"),
    moment(
        "modified_at", "When it was last changed", "stamp.modification", "stamp.modification.date"
    ),
)

TARGETS = _table(
    "targets",
    "One row per contact that was loaded by its id, unicity or hash",
    text("id", "The contact's id, events.contact_id", "id", nullable=False, personal="contact_id"),
    text("hash", "Hash of the unicity, events.contact_hash", "hash", personal="contact_hash"),
    moment("created_at", "When the contact was created", "creationDate"),
    moment("updated_at", "When the contact was last changed", "lastUpdateDate"),
)

TARGET_FIELDS = _child(
    "targets__fields",
    "One row per field of a contact; fields has the names",
    ("target_id", "field_id"),
    text("target_id", "The contact, targets.id", nullable=False, personal="contact_id"),
    text("field_id", "The field; as text, fields.id", KEY, nullable=False),
    text("value", "The value as JSON text", AS_JSON, personal="free"),
)

REDLIST = _table(
    "redlist",
    "One row per contact and channel on the list of those who get nothing any more",
    text("channel", "mail or sms", nullable=False),
    text("id", "The contact's id, events.contact_id", "id", nullable=False, personal="contact_id"),
    moment("listed_at", "When the contact was put on the list", "timestamp"),
    number(
        "origin",
        "0 unknown, 1 API, 2 import, 3 form, 4 unsubscription, 5 complaint, 6 SMS stop, 7 SMS"
        " blacklist, 8 SMS administrative, 9 SMS specific",
        "origin",
    ),
    text("form_id", "The form, where a form did it", "detail.formId"),
    key=("channel", "id"),
)

SUBSCRIPTIONS = _table(
    "subscriptions",
    "One row per push subscription of a contact that was loaded by its id, unicity or hash; one"
    " that is gone keeps its row, requested_at tells",
    text("id", "The subscription's uuid", "id", nullable=False),
    text("application_id", "The application, applications.id", "application"),
    text("provider_type", "The push service", "provider.type"),
    moment("created_at", "When it was made", "lifecycle.creation.date"),
    moment("modified_at", "When it was last changed", "lifecycle.modification.date"),
    text(
        "contact_type", "How NP6 names the contact: id, unicity, hash, footprint …", "contact.type"
    ),
    text(
        "contact_id",
        "The contact's id, events.contact_id",
        "contact.footprint.id",
        Path("contact.value.id", when=("contact.type", "footprint")),
        Path("contact.id", when=("contact.type", "footprint")),
        Path("contact.value", when=("contact.type", "id")),
        personal="contact_id",
    ),
    text(
        "contact_unicity",
        "The value that identifies the contact",
        "contact.footprint.unicity",
        Path("contact.value.unicity", when=("contact.type", "footprint")),
        Path("contact.unicity", when=("contact.type", "footprint")),
        Path("contact.value", when=("contact.type", "unicity")),
        personal="address",
    ),
    text(
        "contact_hash",
        "Hash of the unicity",
        "contact.footprint.hash",
        Path("contact.value.hash", when=("contact.type", "footprint")),
        Path("contact.hash", when=("contact.type", "footprint")),
        Path("contact.value", when=("contact.type", "hash")),
        personal="contact_hash",
    ),
)

EXPERIMENTAL = "application/vnd.np6.experimental+json"
TARGET_MODEL = "application/vnd.mperf.v8.model.v1+json"


def _target(name: str, path: str, id_query: TIdParameter | None = None) -> Dimension:
    ids = {None: "target_ids", "unicity": "target_unicities", "hash": "target_hashes"}[id_query]
    return Dimension(
        name,
        path,
        TARGETS,
        (Children(TARGET_FIELDS, "fields"),),
        ids=ids,
        id_query=id_query,
        gives="object",
        accept=EXPERIMENTAL if id_query else TARGET_MODEL,
    )


# fmt: off
DIMENSIONS: tuple[Dimension, ...] = (
    Dimension("actions", "/actions", ACTIONS, deprecated=True),
    Dimension("action", "/actions/{id}", ACTION, (
        Children(ACTION_SEGMENTS, "scheduler.segments.selected", (("is_excluded", False),)),
        Children(ACTION_SEGMENTS, "scheduler.segments.excluded", (("is_excluded", True),)),
    ), ids="action_ids", gives="object", without=("content",), documented=False),
    Dimension("categories", "/categories", CATEGORIES, documented=False),
    Dimension("segments", "/segments", SEGMENTS, deprecated=True),
    Dimension("fields", "/fields", FIELDS, deprecated=True),
    Dimension("value_lists", "/valueLists", VALUE_LISTS, (Children(VALUE_LIST_VALUES, "values"),), deprecated=True),
    Dimension("notifications", "/notifications", NOTIFICATIONS, (Children(NOTIFICATION_VERSIONS, "versions"),), documented=False),
    Dimension("campaigns", "/campaigns", CAMPAIGNS, (CAMPAIGNS_ITEMS,), documented=False),
    Dimension("campaign", "/campaigns/{id}", CAMPAIGN, (CAMPAIGN_ITEMS,), ids="campaign_ids", gives="object", documented=False),
    Dimension("applications", "/parameters/applications", APPLICATIONS, without=("providers", "icon")),
    Dimension("pressure_topics", "/marketing/pressure/topics", PRESSURE_TOPICS),
    Dimension("redlist_mail", "/targets/redlist/mail", REDLIST, constants=(("channel", "mail"),), documented=False),
    Dimension("redlist_sms", "/targets/redlist/sms", REDLIST, constants=(("channel", "sms"),), documented=False),
    _target("target", "/targets/{id}"),
    _target("targets_by_unicity", "/targets", "unicity"),
    _target("targets_by_hash", "/targets", "hash"),
    Dimension("target_subscriptions", "/targets/{id}/subscriptions", SUBSCRIPTIONS, ids="target_ids", without=("provider",)),
    Dimension("targets_subscriptions_by_unicity", "/targets/subscriptions", SUBSCRIPTIONS, ids="target_unicities", id_query="unicity", without=("provider",)),
    Dimension("targets_subscriptions_by_hash", "/targets/subscriptions", SUBSCRIPTIONS, ids="target_hashes", id_query="hash", without=("provider",)),
)
# fmt: on


def wanted_dimensions(
    asked: Sequence[str] | str | bool | None, given_ids: Mapping[str, object]
) -> frozenset[str]:
    """Names of the resources that a setting selects.

    Args:
        asked: Names, as a sequence or a comma list. True or ``all``: every operation over the
            whole account, and by id those whose ids are given; contacts and their lists only by
            name.
        given_ids: The ids by argument of ``np6_source``.

    Raises:
        SettingError: There is no such resource, or one has no ids.
    """
    if isinstance(asked, str):
        asked = (
            True if asked.strip() == "all" else [n.strip() for n in asked.split(",") if n.strip()]
        )
    if asked is True:
        return frozenset(
            row.name
            for row in DIMENSIONS
            if not row.is_about_contacts and (row.ids is None or given_ids.get(row.ids))
        )
    names = frozenset(asked or ())
    known = {row.name: row for row in DIMENSIONS}
    if unknown := sorted(names - known.keys()):
        meant = "".join(did_you_mean(name, known) for name in unknown)
        raise SettingError(
            f"dimensions: no {', '.join(unknown)}{meant}; there are {', '.join(known)}"
        )
    for name in sorted(names):
        argument = known[name].ids
        if argument and not given_ids.get(argument):
            raise SettingError(f"dimensions: {name} loads by id; give {argument} as well")
    return names


def dimension_tables() -> Iterator[Table]:
    """The tables of all rows, each once, parents before their children."""
    seen = dict.fromkeys(table for row in DIMENSIONS for table in row.tables)
    yield from seen
