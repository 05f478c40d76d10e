"""What becomes of values about persons before a batch leaves ``events``.

``schema`` gives every column the class of what it says of a person. A policy says of each class
whether its values are kept, shortened, replaced by digests or dropped. Pure: rows in, rows out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

import pyarrow as pa

from ..schema import EXECUTION_DATA_TABLE, Column, Table
from .digests import DigestKey

KEEP, HMAC, DROP, TRUNCATE, HOST = "keep", "hmac", "drop", "truncate", "host"

POLICIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "address": (KEEP, HMAC, DROP),
        "domain": (KEEP, DROP),
        "contact_id": (KEEP, HMAC),
        "contact_hash": (KEEP, HMAC, DROP),
        "ip": (KEEP, TRUNCATE, HMAC, DROP),
        "user_agent": (KEEP, HMAC, DROP),
        "url": (KEEP, TRUNCATE, HOST, DROP),
        "free": (KEEP, DROP),
        "record": (KEEP,),
    }
)
"""The classes of ``schema.TPersonal``, with the policies that each can have."""

PRESETS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "keep": {},
        "pseudonyms": {
            "address": HMAC,
            "contact_id": HMAC,
            "contact_hash": HMAC,
            "ip": HMAC,
            "user_agent": HMAC,
            "url": TRUNCATE,
            "free": DROP,
        },
        "strict": {
            "address": DROP,
            "domain": DROP,
            "contact_id": HMAC,
            "contact_hash": DROP,
            "ip": DROP,
            "user_agent": DROP,
            "url": DROP,
            "free": DROP,
        },
    }
)
"""Policies by name; classes that are not named are kept."""

FLOORS: Mapping[str, str] = MappingProxyType({"free": DROP, "url": TRUNCATE})
"""What classes that quote the address become where it is masked and they are not named.
``contact_hash`` becomes what ``address`` is."""

_STRENGTH = (KEEP, TRUNCATE, HOST, HMAC, DROP)
_PLAIN_NAME = re.compile(r"(?!.*([0-9A-Fa-f]{32}|[0-9]{9}))[A-Za-z_][A-Za-z0-9_-]{0,39}(~[0-9]+)?")
_NUMBER = re.compile(r"\s*[(]?([+]|0)[-0-9 ()./\t\u00a0]{6,}")
"""A telephone number: other numbers of a url begin with 1 to 9."""

LONGEST_SEGMENT = 31
"""Characters of a url's path segment that is kept; an MD5 has one more."""


class UnknownPolicy(ValueError):
    """A class or policy that is not there, or two that contradict each other."""


@dataclass(frozen=True)
class Privacy:
    """A policy for each class, with the key for the digests.

    Attributes:
        classes: The policy of every class.
        key: The key; None where there is none.
    """

    classes: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(POLICIES, KEEP))
    key: DigestKey | None = None

    @property
    def masked(self) -> Mapping[str, str]:
        """The classes that are not kept, with their policies."""
        return {name: policy for name, policy in self.classes.items() if policy != KEEP}

    @property
    def needs_key(self) -> bool:
        """Whether a class is replaced by digests."""
        return HMAC in self.classes.values()

    @property
    def recorded(self) -> str:
        """The policy as the ledger and the state record it; empty where everything is kept."""
        parts = [f"{name}={policy}" for name, policy in sorted(self.masked.items())]
        if self.needs_key and self.key is not None:
            parts.append(f"key={self.key.id}")
        return " ".join(parts)

    def name_shown(self, name: str) -> str:
        """The name of a field that nobody knows, as messages may show it.

        A name that does not look like one may be an address.
        """
        if _PLAIN_NAME.fullmatch(name):
            return name
        return "~" if self.key is None else f"~{self.key.exact(name)[:16]}"

    def applied(self, table: Table, rows: pa.Table) -> pa.Table:
        """A table's rows as they may be stored.

        Args:
            table: The table.
            rows: Its rows, with its columns.

        Returns:
            As many rows.
        """
        if not self.masked:
            return rows
        # A recipient is mostly the unicity as well.
        digests: dict[str, str] = {}
        for position, column in enumerate(table.columns):
            if not self.changes(table, column):
                continue
            if self.classes.get(column.personal) == DROP:
                values = pa.nulls(rows.num_rows, column.arrow_type)
            else:
                change = self.change_of(table, column, digests)
                values = _each_once(rows[column.name], change)
            rows = rows.set_column(position, rows.schema.field(position), values)
        return rows

    def changes(self, table: Table, column: Column) -> bool:
        """Whether a column's values change."""
        return self.classes.get(column.personal, KEEP) != KEEP or self._is_masked_key(table, column)

    def change_of(
        self, table: Table, column: Column, digests: dict[str, str] | None = None
    ) -> Callable[[str], str | None]:
        """How a column's values change, one by one.

        Args:
            table: The column's table.
            column: A column that ``changes``.
            digests: Digests of addresses that are known already; more are added. None: none is
                remembered.
        """
        policy = self.classes.get(column.personal, KEEP)
        if policy == DROP:
            return _nothing
        if policy == KEEP:
            return self.name_shown
        if policy == TRUNCATE:
            return truncated_ip if column.personal == "ip" else truncated_url
        if policy == HOST:
            return host_of
        key = self.key
        assert key is not None  # A policy that needs one is not made without.
        if column.personal not in ("address", "contact_hash"):
            return partial(key.of, form="exact")
        if digests is None:
            return partial(key.of, form="address")
        known = digests

        def of_address(value: str) -> str:
            found = known.get(value)
            if found is None:
                found = known[value] = key.of(value, "address")
            return found

        return of_address

    def _is_masked_key(self, table: Table, column: Column) -> bool:
        is_key = (table, column.name) == (EXECUTION_DATA_TABLE, "key")
        return is_key and self.classes["free"] == DROP


def of_recorded(recorded: str) -> tuple[Mapping[str, str], str | None]:
    """The policy of every class out of a recorded text, and what tells which key its digests have.

    Args:
        recorded: The text, as ``Privacy.recorded`` has made it.
    """
    parts = dict(part.split("=", 1) for part in recorded.split())
    key_id = parts.pop("key", None)
    return dict.fromkeys(POLICIES, KEEP) | parts, key_id


def policies_of(named: Mapping[str, str]) -> dict[str, str]:
    """The policy of every class, from those that are named.

    Args:
        named: Policies by class.

    Raises:
        UnknownPolicy: A class or policy is not there, or hashes would be kept more openly than the
            addresses they are made of.
    """
    for name, policy in named.items():
        if name not in POLICIES:
            raise UnknownPolicy(f"there is no class {name!r}: {', '.join(POLICIES)}")
        if policy not in POLICIES[name]:
            raise UnknownPolicy(f"{name} can be {', '.join(POLICIES[name])}, not {policy!r}")
    address = named.get("address", KEEP)
    floors = {"contact_hash": address, **FLOORS} if address != KEEP else {}
    classes = dict.fromkeys(POLICIES, KEEP) | floors | dict(named)
    if _STRENGTH.index(classes["contact_hash"]) < _STRENGTH.index(address):
        raise UnknownPolicy(
            f"contact_hash={classes['contact_hash']} is weaker than address={address}: the hash is"
            " made of the address, and found by trying"
        )
    return classes


def kept_in_spite(classes: Mapping[str, str]) -> list[str]:
    """Classes that are kept though they quote the address, which is not."""
    return [name for name in FLOORS if classes["address"] != KEEP and classes[name] == KEEP]


def truncated_ip(value: str) -> str | None:
    """The network of an IP address: the last octet of v4 is 0, of v6 the first 48 bits stay.

    >>> truncated_ip("203.0.113.77"), truncated_ip("2001:db8:1:2::3")
    ('203.0.113.0', '2001:db8:1::')
    >>> truncated_ip("::ffff:1.2.3.4")
    '1.2.3.0'
    """
    try:
        address = ipaddress.ip_address(value.strip().partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    kept = 24 if isinstance(address, ipaddress.IPv4Address) else 48
    return str(ipaddress.ip_network((address, kept), strict=False).network_address)


def truncated_url(value: str) -> str | None:
    """A url without user name, query and fragment; what may be a person's in its path is ``*``.

    None where it names no host, as ``mailto:`` does.

    >>> truncated_url("https://me@shop.example/of/marie%40example.com?id=7#top")
    'https://shop.example/of/*'
    """
    parts = _split(value)
    if parts is None:
        return None
    segments = ["*" if _may_be_personal(segment) else segment for segment in parts.path.split("/")]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/'.join(segments)}"


def host_of(value: str) -> str | None:
    """Scheme and host of a url; None where it has none."""
    parts = _split(value)
    return None if parts is None else f"{parts.scheme}://{parts.hostname}"


def _nothing(_: str) -> None:
    return None


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value.strip())
        has_host = bool(parts.scheme and parts.hostname)
    except ValueError:
        return None
    return parts if has_host and "@" not in unquote(unquote(parts.hostname or "")) else None


def _may_be_personal(segment: str) -> bool:
    if len(segment) > LONGEST_SEGMENT:
        return True
    plain = segment
    while (once := unquote(plain)) != plain:  # Redirections encode what is encoded already.
        plain = once
    return "@" in plain or bool(_NUMBER.fullmatch(plain))


def _each_once(values: pa.ChunkedArray, change: Callable[[str], str | None]) -> pa.ChunkedArray:
    """The values changed; each that occurs more than once is changed once."""
    encoded = values.dictionary_encode().unify_dictionaries()
    return pa.chunked_array([_decoded(chunk, change) for chunk in encoded.chunks], pa.string())


def _decoded(encoded: pa.DictionaryArray, change: Callable[[str], str | None]) -> pa.Array:
    changed = [None if text is None else change(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(changed, pa.string()).take(encoded.indices)


KEEP_ALL = Privacy()
"""The policy where none is given."""
