"""The key: what can be one, where it came from, and that nothing shows or leaks it."""

from __future__ import annotations

import logging
import os
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.pipeline.exceptions import PipelineStepFailed

import np6_source as package
from np6_source import np6_source
from np6_source.api.body import BodyInMemory
from np6_source.api.client import Client, WindowRequest
from np6_source.api.credentials import MaskedKey, checked_base_url, checked_key, key_origin
from np6_source.api.server_clock import ServerClock
from np6_source.endpoints import Endpoint
from np6_source.errors import RequestFailed, SettingError, WindowTooLarge
from np6_source.redaction import URL_LOGGERS, keep_ids_out_of_logs
from np6_source.settings import ClientSettings
from np6_source.windows import Window

KEY = "k3y-that-must-never-be-seen"
ADDRESS = "somebody.private@example.com"
TMake = Callable[..., Any]
DAY = Window(1_709_251_200_000, 1_709_337_600_000)
BY_UNICITY = Endpoint("/targets/events/hits", ids="target_unicities", id_query="unicity")
BY_ID = Endpoint("/targets/{id}/events", ids="target_ids")
PACKAGE = Path(package.__file__).parent


def fetch(url: str, row: Endpoint = BY_UNICITY, scope: str = ADDRESS, **settings: Any) -> None:
    """Asks once for a window with the key."""
    options = {"attempts": 1, "connect_timeout": 2, "read_timeout": 2} | settings
    client = Client(ClientSettings(url, KEY, **options), ServerClock())
    try:
        client.fetch(WindowRequest(row, DAY, scope, "a digest"), BodyInMemory())
    finally:
        client.close()


def frames_of(error: BaseException, everywhere: bool = True) -> Iterator[str]:
    """The variables, as printed, of the frames that an error and its suppressed kin hold.

    Those of this file do not count; not everywhere: only those of the package.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
        stack = traceback.TracebackException.from_exception(found, capture_locals=True).stack
        for frame in stack:
            file = Path(frame.filename)
            if PACKAGE in file.parents or (everywhere and file != Path(__file__)):
                yield f"{frame.name}: {frame.locals}"


@pytest.fixture
def self_signed(tmp_path: Path) -> Path:
    """The certificate of a server on ``localhost``; its key is in ``private.pem`` beside it."""
    certificate, private = tmp_path / "certificate.pem", tmp_path / "private.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(private), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate


class TestNoVariableShowsIt:
    @pytest.mark.parametrize(
        "status", ["200 OK", "302 Found", "401 No", "404 No", "429 Later", "500 Broken"]
    )
    def test_of_a_failed_request(self, raw_server: TMake, answer_with: TMake, status: str) -> None:
        body = b"\x1f\x8bbroken gzip"
        server = raw_server(answer_with(body, status, {"Location": "/x"}))
        with pytest.raises(RequestFailed) as raised:
            fetch(server.url)
        assert KEY in server.requests[0]
        frames = list(frames_of(raised.value))
        assert any(frame.startswith("fetch") for frame in frames)
        assert not [frame for frame in frames if KEY in frame]

    @pytest.mark.parametrize("broken", ["refused", "hangs up", "no certificates"])
    def test_of_a_request_without_a_response_nor_its_suppressed_errors(
        self, raw_server: TMake, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        if broken == "no certificates":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/not/there.pem")
        url = {
            "refused": "http://127.0.0.1:9/",
            "hangs up": raw_server(b"").url,
            "no certificates": "https://127.0.0.1:9/",
        }[broken]
        with pytest.raises(RequestFailed) as raised:
            fetch(url)
        error = raised.value
        # What a request's error holds: the request, with its headers.
        assert error.__context__ is None
        assert error.__cause__ is None
        assert not [frame for frame in frames_of(error) if KEY in frame]

    @pytest.mark.parametrize(
        "options",
        [
            {"start": "nonsense"},
            {"base_url": "nonsense"},
            {"base_url": "http://api-cm.np6.com/"},
            {"attempts": 0},
            {"action_ids": [""]},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("given", ["in code", "configured"])
    def test_of_a_setting_that_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, options: Any, given: str
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", KEY)
        key = {"api_key": KEY} if given == "in code" else {}
        with pytest.raises(SettingError) as raised:
            np6_source(**key, **options)
        # dlt's own frames hold what a caller gives in code.
        frames = list(frames_of(raised.value, everywhere=given == "configured"))
        assert any(frame.startswith("np6_source:") for frame in frames)
        assert not [frame for frame in frames if KEY in frame]

    @pytest.mark.parametrize("name", ["API_KEY", "SOURCES__API_KEY"])
    def test_of_a_key_of_another_service(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, KEY)
        with pytest.raises(SettingError, match=f"the environment variable {name}") as raised:
            np6_source()
        assert not [frame for frame in frames_of(raised.value) if KEY in frame]

    @pytest.mark.parametrize("key", [f'"{KEY}"', f"{KEY} {KEY}", f"<{KEY}>"])
    def test_of_what_cannot_be_a_key(self, key: str) -> None:
        with pytest.raises(SettingError) as raised:
            np6_source(key)
        assert KEY not in str(raised.value)
        assert not [frame for frame in frames_of(raised.value, everywhere=False) if KEY in frame]

    def test_it_is_the_key_all_the_same(self) -> None:
        key = MaskedKey(KEY)
        assert key == KEY
        assert f"{key}" == KEY
        assert KEY not in repr({"X-Key": key})


class TestWhatCanBeAKey:
    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("...", "placeholder"),
            ("<configure me>", "placeholder"),
            ("<your key>", "placeholder"),
            ("changeme", "placeholder"),
            (f'"{KEY}"', "quotation marks"),
            (f"'{KEY}'", "quotation marks"),
            (f"\u201c{KEY}\u201d", "quotation marks"),
            ("", "empty"),
            (None, "empty"),
            ("sch\u00fcssel", "characters that no NP6 key has"),
        ],
        ids=repr,
    )
    def test_others_are_refused_with_their_reason(self, key: Any, words: str) -> None:
        with pytest.raises(SettingError, match=words):
            checked_key(key)

    def test_blanks_around_it_do_not_count(self) -> None:
        assert checked_key(f" {KEY}\n") == KEY

    def test_the_message_says_where_a_wrong_one_was_found(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", "<configure me>")
        with pytest.raises(
            SettingError, match="found in the environment variable SOURCES__NP6__API_KEY"
        ):
            np6_source()


class TestWhereItWasFound:
    def test_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", f"{KEY} ")
        assert key_origin(KEY) == "the environment variable SOURCES__NP6__API_KEY"

    def test_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / ".dlt").mkdir()
        secrets = tmp_path / ".dlt" / "secrets.toml"
        secrets.write_text(f'[sources.np6]\napi_key = "{KEY}"\n')
        context = Container()[PluggableRunContext]
        before = context.context.run_dir
        context.reload(str(tmp_path))
        try:
            found = key_origin(KEY)
        finally:
            context.reload(before)
        assert found is not None
        assert "sources.np6.api_key" in found
        assert "secrets.toml" in found
        assert KEY not in found

    def test_nowhere_if_it_was_given_in_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", "another")
        assert key_origin(KEY) is None

    def test_a_refused_key_is_told_with_its_place(
        self, monkeypatch: pytest.MonkeyPatch, serve: TMake, warehouse: Any
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", KEY)
        source = np6_source(base_url=serve([], key="another").url, start="2024-03-01")
        with pytest.raises(
            PipelineStepFailed,
            match="Check the key in the environment variable SOURCES__NP6__API_KEY",
        ):
            warehouse.pipeline.extract(source.with_resources("actions_events"))


class TestWhereItGoes:
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "LocalHost"])
    def test_to_a_host_in_capitals(self, raw_server: TMake, host: str, answer_with: TMake) -> None:
        server = raw_server(answer_with())
        fetch(f"HTTP://{host}:{server.port}/")
        assert KEY in server.requests[0]

    @pytest.mark.parametrize(
        ("url", "normal"),
        [
            ("HTTPS://API-CM.NP6.COM/", "https://api-cm.np6.com"),
            ("https://api-cm.np6.com:443", "https://api-cm.np6.com"),
            ("https://api-cm.np6.com:8443/", "https://api-cm.np6.com:8443"),
            (" https://api-cm.np6.com/Path/ ", "https://api-cm.np6.com/Path"),
            ("https://b\u00fccher.test/", "https://xn--bcher-kva.test"),
            ("http://[::1]:80/", "http://[::1]"),
        ],
    )
    def test_the_base_url_has_one_form(self, url: str, normal: str) -> None:
        assert checked_base_url(url) == normal
        assert checked_base_url(normal) == normal

    @pytest.mark.parametrize(
        "url", ["http://[::1", "https://x:y/", "https://x:99999999/", "https://\udcff.test/", None]
    )
    def test_a_url_that_cannot_be_read_is_refused(self, url: Any) -> None:
        with pytest.raises(SettingError, match="base_url"):
            checked_base_url(url)

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
    def test_not_to_a_proxy_for_a_host_on_this_machine(
        self,
        raw_server: TMake,
        answer_with: TMake,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        for each in [each for each in os.environ if each.lower().endswith("_proxy")]:
            monkeypatch.delenv(each)
        proxy, server = raw_server(answer_with(b'["proxy"]')), raw_server(answer_with())
        monkeypatch.setenv(name, proxy.url)
        fetch(server.url)
        fetch(f"http://localhost:{server.port}/")
        assert proxy.requests == []
        assert len(server.requests) == 2

    def test_to_nobody_else_by_the_users_netrc(
        self, raw_server: TMake, answer_with: TMake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        server = raw_server(answer_with())
        fetch(server.url)
        assert "authorization" not in server.requests[0].lower()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_response_that_drips_through_tls_is_given_up_at_the_deadline(
    self_signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed))
    ended = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.05):
                    self.wfile.write(b" ")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed, self_signed.with_name("private.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(WindowTooLarge, match="more than 1 seconds"):
            fetch(f"https://localhost:{server.server_port}/", request_timeout=1.0, read_timeout=5)
        assert time.monotonic() - began < 20
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class TestLogs:
    @pytest.fixture(autouse=True)
    def every_line(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)

    @pytest.mark.parametrize("row", [BY_UNICITY, BY_ID], ids=lambda row: row.name)
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]",
            b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nsomebody.private@example.com\r\n"
            b"Content-Length: 2\r\n\r\n[]",
            b"",
        ],
        ids=["good", "refused", "unreadable headers", "hangs up"],
    )
    def test_no_id_of_a_person_is_in_any_line_at_any_level(
        self, raw_server: TMake, caplog: pytest.LogCaptureFixture, row: Endpoint, answer: bytes
    ) -> None:
        server = raw_server(answer)
        with suppress(RequestFailed):
            fetch(server.url, row)
        assert "somebody.private%40example.com" in server.requests[0]
        assert "urllib3" in caplog.text
        assert "somebody.private" not in caplog.text
        assert KEY not in caplog.text

    def test_another_client_that_closes_does_not_take_the_filter_away(
        self, raw_server: TMake, answer_with: TMake, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = raw_server(answer_with())
        client = Client(ClientSettings(server.url, KEY), ServerClock())
        Client(ClientSettings(server.url, KEY), ServerClock()).close()
        client.fetch(WindowRequest(BY_UNICITY, DAY, ADDRESS, "a digest"), BodyInMemory())
        client.close()
        assert "somebody.private" not in caplog.text

    def test_it_is_installed_once(self) -> None:
        keep_ids_out_of_logs()
        before = [list(logging.getLogger(name).filters) for name in URL_LOGGERS]
        keep_ids_out_of_logs()
        assert [list(logging.getLogger(name).filters) for name in URL_LOGGERS] == before
