"""The API key: whether it can be one, where it was found, and where alone it is sent."""

from __future__ import annotations

import ipaddress
from http.cookiejar import Cookie, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from ..dlt_internals.configuration import where_configured
from ..errors import SettingError

SECTIONS = ("sources", "np6")
"""Where dlt looks the key up first: ``SOURCES__NP6__API_KEY``, ``[sources.np6]``."""

PLACEHOLDERS = ("...", "xxx", "changeme", "change-me", "your-api-key", "your_api_key", "api_key")
"""Texts that mark where a key is to be filled in, beside anything in angle brackets."""

QUOTES = "\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb"


class MaskedKey(str):
    """A key that shows as stars where a debugger, a log or a traceback prints its variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'*****'"


class KeyHeader(AuthBase):
    """Adds the key, as ``X-Key``, to requests to one scheme, host and port, and to no other."""

    def __init__(self, api_key: str, base_url: str) -> None:
        """Takes a checked key and the normal form of the base URL."""
        self._api_key = MaskedKey(api_key)
        self._origin = urlsplit(base_url)[:2]

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """See ``requests.auth.AuthBase``."""
        if urlsplit(str(request.url))[:2] == self._origin:
            request.headers["X-Key"] = self._api_key
        return request


class NoCookies(DefaultCookiePolicy):
    """Neither keeps nor sends cookies: no request depends on another."""

    def set_ok(self, cookie: Cookie, request: Any) -> bool:
        """Refuses every cookie."""
        return False


def checked_base_url(base_url: str) -> str:
    """The base URL in its normal form: scheme and host in lower case, no trailing slash.

    Raises:
        SettingError: It is not a URL, or would send the key over plain HTTP to another machine.
    """
    try:
        parts = urlsplit(base_url.strip())
        host = parts.hostname
        port_is_given = parts.port is not None
    except (ValueError, AttributeError):
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise SettingError(f"base_url {base_url!r} is not a URL like https://api-cm.np6.com/")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError("base_url must be the plain root of the API: no user, query or fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingError(f"base_url {base_url!r} must be https: the key would travel in the open")
    try:
        # As requests writes it, so that it equals the URL of every request: letters beyond ASCII.
        normal = requests.Request("GET", parts.geturl()).prepare().url
    except (requests.exceptions.RequestException, UnicodeError):
        normal = None
    if normal is None:
        raise SettingError(f"base_url {base_url!r} names no host that can be asked")
    scheme, location, path, _, _ = urlsplit(normal)
    standard = {"http": ":80", "https": ":443"}[scheme]
    if port_is_given:
        location = location.removesuffix(standard)
    return f"{scheme}://{location}{path}".rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_key(api_key: str) -> MaskedKey:
    """The key, if it can be one.

    Raises:
        SettingError: It is empty, a placeholder, or cannot be sent in a header. Neither the message
            nor a variable of the error's frames shows it.
    """
    key = MaskedKey(api_key.strip()) if isinstance(api_key, str) else MaskedKey()
    api_key = key
    problem = _problem_of(key)
    if problem:
        origin = key_origin(key) if key else None
        raise SettingError(problem + (f" (found in {origin})" if origin else ""))
    return key


def is_placeholder(secret: str) -> bool:
    """Whether a secret still waits for its value, as ``<configure me>`` of ``dlt init`` does.

    >>> is_placeholder("<configure me>"), is_placeholder("...")
    (True, True)
    """
    return secret.lower() in PLACEHOLDERS or (secret[:1], secret[-1:]) == ("<", ">")


def _problem_of(key: MaskedKey) -> str | None:
    if not key:
        return "api_key is empty: set SOURCES__NP6__API_KEY"
    if is_placeholder(key):
        return "api_key is a placeholder: put NP6's key in its place"
    if key[0] in QUOTES or key[-1] in QUOTES:
        return "api_key has quotation marks around it: leave them out"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "api_key has characters that no NP6 key has: is it the right secret?"
    return None


def key_origin(api_key: str) -> str | None:
    """Where dlt found the key, in words for a message.

    Returns:
        ``the environment variable SOURCES__NP6__API_KEY``, ``sources.np6.api_key in
        .dlt/secrets.toml`` and the like; None where the key was given in code.
    """
    key = MaskedKey(api_key)
    api_key = key
    for sections in ((*SECTIONS, "np6"), SECTIONS, SECTIONS[:1], ()):
        found = where_configured("api_key", key, *sections)
        if found is not None:
            return found
    return None


def refuse_foreign_key(api_key: str) -> None:
    """Makes sure that the key was not found under a name that any service may use.

    dlt looks a value up under ever shorter names, down to a bare ``API_KEY`` (dlt 1.31); the key
    of another service would be sent to NP6.

    Raises:
        SettingError: The key is under such a name and under none of NP6's.
    """
    key = MaskedKey(api_key)
    api_key = key
    if where_configured("api_key", key, *SECTIONS) is not None:
        return
    foreign = [
        found
        for sections in (SECTIONS[:1], ())
        if (found := where_configured("api_key", key, *sections)) is not None
    ]
    if foreign:
        raise SettingError(
            f"The API key was found as {foreign[0]}, which may belong to another service."
            " Name it SOURCES__NP6__API_KEY, or api_key in [sources.np6]."
        )
