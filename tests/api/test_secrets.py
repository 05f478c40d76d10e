"""The key goes to one place only; addresses stay out of the logs."""

from __future__ import annotations

import inspect
import logging
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from dlt.common import logger as dlt_logger
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError, np6_source
from np6_source.sandbox import Fault, Sandbox

KEY = "k3y-that-must-never-be-seen"
ADDRESS = "somebody.private@example.com"
RECIPIENT = "recipient.private@example.com"
ALL = "actions_events"
BY_UNICITY = "targets_events_hits_by_unicity"
TMake = Callable[..., Any]
TAt = Callable[[str], int]


class Lines(logging.Handler):
    """Everything that is logged anywhere, with its level and any exception's text."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[tuple[int, str]] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.levelno, self.format(record)))

    def text(self, level: int = logging.NOTSET) -> str:
        return "\n".join(line for found, line in self.found if found >= level)


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Logs of every library from DEBUG on, dlt's own included."""
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    context = Container()[PluggableRunContext]
    context.reload_providers()
    lines = Lines()
    root = logging.getLogger()
    dlt_own = dlt_logger.LOGGER
    loggers = [root, *([dlt_own] if dlt_own and not dlt_own.propagate else [])]
    level = root.level
    root.setLevel(logging.DEBUG)
    for logger in loggers:
        logger.addHandler(lines)
    try:
        yield lines
    finally:
        root.setLevel(level)
        for logger in loggers:
            logger.removeHandler(lines)
        monkeypatch.undo()
        context.reload_providers()


def private_events(event: TMake, at: TAt) -> list[Any]:
    events = []
    for number in range(5):
        found = event(number, at("03-01T12:00") + number, type="hit")
        activation = found["source"]["detail"]["activation"]
        activation["recipient"] = RECIPIENT
        activation["receiver"]["unicity"] = ADDRESS
        found["strange"] = RECIPIENT
        events.append(found)
    return events


def assert_in_no_file(folder: Path, secret: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("trace") for path in files)
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


def whole_text(error: BaseException | None) -> str:
    """An exception's text with everything it came from."""
    seen = []
    while error is not None:
        seen.append(f"{error!r} {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(seen)


def test_the_key_and_addresses_of_a_run_are_in_no_log_file_or_table(
    warehouse: Any,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    every_line: Lines,
) -> None:
    sandbox = serve(private_events(event, at), key=KEY, now=at("03-02"))
    names = (ALL, BY_UNICITY)
    warehouse.run(source_of(sandbox, *names, target_unicities=[ADDRESS]))
    assert len(warehouse.ids()) == 5
    sandbox.now = at("03-02T06:00")
    # An id that is an address fails, with every kind of fault behind each other.
    faults = ["status=503,times=1", "abort,times=1", "status=404,times=1"]
    with sandbox.faults.during(*(f"{fault},path=/targets/events/hits" for fault in faults)):
        warehouse.run(source_of(sandbox, *names, target_unicities=[ADDRESS], on_error="keep"))
    debug, info = every_line.text(), every_line.text(logging.INFO)
    assert "sha256:" in info
    assert "urllib3" in debug
    assert KEY not in debug
    for address in (ADDRESS, RECIPIENT):
        assert address not in info
        assert address.replace("@", "%40") not in info
    assert_in_no_file(warehouse.pipelines_dir, KEY)
    assert KEY.encode() not in warehouse.database.read_bytes()
    assert ADDRESS not in str(warehouse.rows("load_windows"))


@pytest.mark.parametrize(
    "fault",
    [
        "status=401",
        "status=403",
        "status=400",
        "status=500",
        "status=429",
        "status=429,retry_after=9000",
        "redirect",
        "html",
        "object",
        "empty",
        "cut_event",
        "cut_comma",
        "abort",
        "abort_body=5",
        "stall=0.3",
        "without_id",
        f"raw=[{KEY}]",
        f'raw=[{{"id": "{KEY}"}}]',
        f'object={{"message": "wrong key {KEY}"}}',
    ],
)
def test_no_error_quotes_the_key_or_the_address(
    warehouse: Any,
    serve: TMake,
    source_of: TMake,
    event: TMake,
    at: TAt,
    every_line: Lines,
    fault: str,
) -> None:
    sandbox = serve(private_events(event, at), key=KEY, now=at("03-02"))
    options = {"window": 1, "attempts": 2, "read_timeout": 0.2, "longest_wait": 5}
    options |= {"start": at("03-01T12:00"), "concurrency": 1}
    with sandbox.faults.during(Fault.parse(fault)), pytest.raises(PipelineStepFailed) as raised:
        warehouse.run(source_of(sandbox, ALL, **options))
    error = whole_text(raised.value)
    assert ALL in error
    source = source_of(sandbox, BY_UNICITY, target_unicities=[ADDRESS], on_error="keep", **options)
    with sandbox.faults.during(Fault.parse(fault)):
        warehouse.pipeline.extract(source)
    (failure,) = source.resources[BY_UNICITY].custom_metrics["failures"]
    assert "sha256:" in failure["message"]
    for text in (error, str(failure), every_line.text()):
        assert KEY not in text
    for text in (error, str(failure), every_line.text(logging.INFO)):
        assert ADDRESS not in text
        assert ADDRESS.replace("@", "%40") not in text
        assert RECIPIENT not in text
    assert_in_no_file(warehouse.pipelines_dir, KEY)


def test_unreadable_headers_do_not_bring_an_address_into_the_logs(
    warehouse: Any, raw_server: TMake, source_of: TMake, every_line: Lines, at: TAt
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nnonsense\r\nContent-Length: 2\r\n\r\n[]"
    server = raw_server(answer)
    options = {"target_unicities": [ADDRESS], "end": at("03-02"), "on_error": "keep"}
    warehouse.pipeline.extract(source_of(server, BY_UNICITY, **options))
    assert server.requests
    assert ADDRESS not in every_line.text(logging.INFO)
    assert ADDRESS.replace("@", "%40") not in every_line.text(logging.INFO)


class TestWhereTheKeyComesFrom:
    def test_its_own_name_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", "its-own")
        assert np6_source().name == "np6"

    @pytest.mark.parametrize("name", ["API_KEY", "SOURCES__API_KEY"])
    def test_a_name_that_any_service_may_use_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "someone-elses-key")
        with pytest.raises(SettingError, match="SOURCES__NP6__API_KEY") as raised:
            np6_source()
        assert "someone-elses-key" not in whole_text(raised.value)

    def test_its_own_name_counts_beside_a_foreign_one(
        self, monkeypatch: pytest.MonkeyPatch, serve: TMake, warehouse: Any, at: TAt
    ) -> None:
        monkeypatch.setenv("API_KEY", "someone-elses-key")
        monkeypatch.setenv("SOURCES__NP6__API_KEY", KEY)
        sandbox = serve([], key=KEY)
        source = np6_source(base_url=sandbox.url, start=at("03-01"), end=at("03-02"))
        warehouse.pipeline.extract(source.with_resources(ALL))
        assert [request.status for request in sandbox.requests] == [200]

    @pytest.mark.parametrize("key", ["", "   ", "with blank", "sch\u00fcssel", "two\nlines"])
    def test_what_cannot_be_a_key_is_refused_without_quoting_it(self, key: str) -> None:
        with pytest.raises(SettingError, match="api_key") as raised:
            np6_source(key)
        assert not key.strip() or key not in whole_text(raised.value)


class TestWhereTheKeyGoes:
    @pytest.mark.parametrize(
        "url",
        [
            "http://api-cm.np6.com/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://10.0.0.1/",
        ],
    )
    def test_plain_http_to_another_machine_is_refused(self, url: str) -> None:
        with pytest.raises(SettingError, match="must be https"):
            np6_source(KEY, base_url=url)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "https://x.test/"]
    )
    def test_loopback_and_https_are_taken(self, url: str) -> None:
        assert np6_source(KEY, base_url=url).name == "np6"

    @pytest.mark.parametrize(
        "url",
        ["ftp://x/", "api-cm.np6.com", "", "https://", "https://u:p@x.test/", "https://x/?a=1"],
    )
    def test_what_is_no_root_of_an_api_is_refused(self, url: str) -> None:
        with pytest.raises(SettingError):
            np6_source(KEY, base_url=url)

    def test_nothing_switches_the_check_of_certificates_off(self) -> None:
        names = set(inspect.signature(np6_source).parameters)
        assert not {name for name in names if "verify" in name or "ssl" in name or "cert" in name}
        with pytest.raises(TypeError):
            np6_source(KEY, verify=False)  # type: ignore[call-arg]

    @pytest.mark.skipif(
        shutil.which("openssl") is None, reason="makes its certificate with openssl"
    )
    def test_a_server_without_a_trusted_certificate_never_gets_the_key(
        self, tmp_path: Path, warehouse: Any, source_of: TMake
    ) -> None:
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
        seen: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.path)

        server = HTTPServer(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            api = type("Api", (), {"url": f"https://localhost:{server.server_port}/", "key": KEY})
            with pytest.raises(PipelineStepFailed, match="no connection to the API") as raised:
                warehouse.run(source_of(api, ALL, attempts=2))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert seen == []
        assert KEY not in whole_text(raised.value)


def test_cookies_of_an_answer_are_not_sent_back(
    warehouse: Any, raw_server: TMake, source_of: TMake, answer_with: TMake
) -> None:
    server = raw_server(answer_with(headers={"Set-Cookie": "session=stolen; Path=/"}))
    source = source_of(server, ALL, end="2024-03-04", concurrency=1)
    warehouse.pipeline.extract(source)
    assert len(server.requests) > 1
    assert not any("cookie" in request.lower() for request in server.requests)


def test_a_sandbox_with_another_key_is_told_nothing_but_the_key(
    warehouse: Any, serve: TMake, source_of: TMake, at: TAt
) -> None:
    sandbox: Sandbox = serve([], key="another", now=at("03-02"))
    source = source_of(type("Api", (), {"url": sandbox.url, "key": KEY}), ALL)
    with pytest.raises(PipelineStepFailed, match="NP6 refused the API key"):
        warehouse.run(source)
    for request in sandbox.requests:
        assert [name for name, value in request.headers.items() if KEY in value] == ["X-Key"]
