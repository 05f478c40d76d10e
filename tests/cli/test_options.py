"""What cannot be used is refused before anything starts: one sentence, status 2."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source.__main__ import COMMANDS, main
from np6_source.__main__ import parse as parse_command
from np6_source.cli.destination import open_pipeline
from np6_source.cli.document import document_of
from np6_source.cli.load import parse
from np6_source.cli.options import ids_of
from np6_source.cli.working_folder import pipelines_dir
from np6_source.endpoints import ENDPOINTS
from np6_source.errors import SettingError
from np6_source.sandbox import Sandbox, account_from_events
from tests.cli.forked import forks
from tests.support import CommandLine


@dataclass(frozen=True)
class Case:
    """A command line, and what its message must say."""

    says: tuple[str, ...]
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def file_of_a_newer_duckdb() -> bytes:
    """The header of a file in a version that no DuckDB has; what it sums to, DuckDB says."""
    content = b"DUCK" + (199).to_bytes(8, "little") + bytes(4096 * 3 - 20)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "unsummed.db"
        file.write_bytes(bytes(8) + content)
        with pytest.raises(duckdb.IOException) as refused:
            duckdb.connect(str(file), read_only=True)
    found = re.search(r"computed checksum (\d+)", str(refused.value))
    assert found
    return int(found[1]).to_bytes(8, "little") + content


CASES = {
    "no key": Case(("SOURCES__NP6__API_KEY",), variables={"SOURCES__NP6__API_KEY": ""}),
    "another's key": Case(
        ("SOURCES__NP6__API_KEY",),
        variables={"SOURCES__NP6__API_KEY": "", "API_KEY": "someone-elses"},
    ),
    "unknown option": Case(
        ("np6_to_duckdb.py: unrecognized", "--acton-ids", "did you mean --action-ids?"),
        ("--acton-ids", "000PE4"),
    ),
    "a file of a newer DuckDB": Case(
        ("newer.db was made by a newer DuckDB than", "docs/operate.md says under DuckDB versions"),
        ("--duckdb-file", "newer.db"),
        files={"newer.db": file_of_a_newer_duckdb()},
    ),
    "a configuration file that is no TOML": Case(
        ("config.toml", "line 2"), files={".dlt/config.toml": '[sources.np6]\nstart = "2024\n'}
    ),
    "unknown resource": Case(
        (
            "There is no resource action_events (did you mean actions_events?). `np6-source load"
            " --help` lists all.",
        ),
        ("--resources", "actions_reactivities,action_events"),
    ),
    "unknown destination": Case(
        ("--destination duckdbb", "did you mean duckdb?"), ("--destination", "duckdbb")
    ),
    "destination and file": Case(
        ("--duckdb-file x.duckdb and --destination postgres contradict",),
        ("--destination", "postgres", "--duckdb-file", "x.duckdb"),
    ),
    "destination not configured": Case(
        ("Not configured", "DESTINATION__POSTGRES__CREDENTIALS__HOST"),
        ("--destination", "postgres"),
    ),
    "destination not configured, in a project with a configuration": Case(
        (
            "Not configured: credentials. Give ",
            *(
                f"DESTINATION__POSTGRES__CREDENTIALS__{name}"
                for name in ("DATABASE", "PASSWORD", "USERNAME", "HOST")
            ),
        ),
        ("--destination", "postgres"),
        files={".dlt/config.toml": '[runtime]\nlog_level = "WARNING"\n'},
    ),
    "client library missing": Case(
        ("--destination clickhouse needs the package", "pip install 'dlt[clickhouse]'"),
        ("--destination", "clickhouse"),
    ),
    "table format's library missing": Case(
        ("table_format needs the package deltalake",),
        ("--destination", "filesystem"),
        {"SOURCES__NP6__TABLE_FORMAT": "delta", "DESTINATION__FILESYSTEM__BUCKET_URL": "lake"},
    ),
    "dataset the destination writes otherwise": Case(
        ("--dataset 'My Events' is no name that duckdb takes", "Give --dataset my_events."),
        ("--dataset", "My Events"),
    ),
    "empty dataset": Case(("--dataset is empty",), ("--dataset", "")),
    "dataset named as the file": Case(
        ("np6.duckdb and the dataset 'np6' need different names",),
        ("--duckdb-file", "np6.duckdb"),
    ),
    "in another case": Case(("need different names",), ("--duckdb-file", "NP6.duckdb")),
    "up to the first dot": Case(
        ("np6.2024.duckdb and the dataset", "DuckDB calls the file np6"),
        ("--duckdb-file", "np6.2024.duckdb"),
    ),
    "a question mark in the file": Case(
        ("The DuckDB file", "? cannot be part of the path"), ("--duckdb-file", "a?b.duckdb")
    ),
    "a quotation mark in the working folder": Case(
        ("working folder", "' cannot be part of the path"), ("--pipelines-dir", "it's")
    ),
    "a per cent sign in the working folder": Case(
        ("working folder", "% cannot be part of the path"), ("--pipelines-dir", "a%20b")
    ),
    "a checkpoint of no events": Case(("--checkpoint=0 must be",), ("--checkpoint", "0")),
    "no name of a resource": Case(("--resources: names nothing",), ("--resources", ",")),
    "a folder where no lock can be made": Case(
        ("The lock file /proc/x.duckdb.np6.lock cannot be made",),
        ("--duckdb-file", "/proc/x.duckdb"),
    ),
    "a working folder that cannot be made": Case(
        ("dlt's working folder cannot be made in /proc/np6",), ("--pipelines-dir", "/proc/np6")
    ),
    "folder missing": Case(
        ("there is no folder", "mkdir -p"), ("--duckdb-file", "not/there/x.duckdb")
    ),
    "file is a folder": Case((".dlt is a folder",), ("--duckdb-file", ".dlt")),
    "start that is none": Case(("start='yesterday'",), ("--start", "yesterday")),
    "empty range": Case(("must be before end",), ("--start", "2024-03-02", "--end", "2024-03-01")),
    "reload up to an end": Case(
        ("--reload and --end contradict",), ("--reload", "--end", "2024-03-01")
    ),
    "plain http": Case(("must be https",), ("--base-url", "http://api.example.com/")),
    "bar not installed": Case(
        ("--progress enlighten", "what can be shown is log, none"), ("--progress", "enlighten")
    ),
    "misspelt variable": Case(
        ("SOURCES__NP6__STRAT is read by nobody: did you mean SOURCES__NP6__START?",),
        variables={"SOURCES__NP6__STRAT": "2024-01-01"},
    ),
    "one underscore for two": Case(
        ("SOURCES_NP6_START is read by nobody: did you mean SOURCES__NP6__START?",),
        variables={"SOURCES_NP6_START": "2024-01-01"},
    ),
    "misspelt section": Case(
        ("start in [source.np6] of config.toml is read by nobody: did you mean [sources.np6]?",),
        files={".dlt/config.toml": '[source.np6]\nstart = "2024-01-01"\n'},
    ),
    "misspelt key": Case(
        ("actions_ids in [sources.np6] of config.toml", "did you mean action_ids?"),
        files={".dlt/config.toml": '[sources.np6]\nactions_ids = ["000PE4"]\n'},
    ),
    "misspelt key of secrets": Case(
        ("api_kee in [sources.np6] of secrets.toml is read by nobody: did you mean api_key?",),
        files={".dlt/secrets.toml": '[sources.np6]\napi_kee = "one"\n'},
    ),
    "a key that is no secret": Case(
        (
            "sources.np6.api_key is in config.toml, where dlt takes no secrets: move it to"
            " .dlt/secrets.toml",
            "SOURCES__NP6__API_KEY.",
        ),
        variables={"SOURCES__NP6__API_KEY": ""},
        files={".dlt/config.toml": '[sources.np6]\napi_key = "someone-elses"\n'},
    ),
    "misspelt dimension": Case(
        ("dimensions: no campagins (did you mean campaigns?); there are",),
        ("--dimensions", "campagins"),
    ),
    "an end before the first load's start": Case(
        (
            "actions_events: end=2020-01-01T00:00:00Z lies before",
            "on the command line --start",
        ),
        ("--end", "2020-01-01"),
    ),
    "number that is none": Case(
        ("window='wide'", "SOURCES__NP6__WINDOW"), variables={"SOURCES__NP6__WINDOW": "wide"}
    ),
    "id that is no text": Case(("is no Unicode text",), ("--action-ids", "a\udcffb")),
    "id with a NUL": Case(
        ("--action-ids: value 2 has a control character in it",),
        ("--action-ids", "@ids.txt"),
        files={"ids.txt": "A1\nA2\0\n"},
    ),
    "file of ids missing": Case(("ids.txt cannot be read",), ("--action-ids", "@ids.txt")),
    "file of ids empty": Case(
        ("empty.txt holds no ids",), ("--action-ids", "@empty.txt"), files={"empty.txt": "\n \n"}
    ),
    "quiet and JSON": Case(("not allowed with argument",), ("--quiet", "--json")),
}


ALONE = ("no key", "unknown option", "a configuration file that is no TOML")
"""Cases that run as the shell would run them; all others are forks of one process."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All cases, in folders of their own."""
    found: dict[str, Any] = {}
    with Sandbox(account_from_events([])) as sandbox, forks() as process:
        for name, case in CASES.items():
            folder = tmp_path_factory.mktemp("options")
            (folder / ".dlt").mkdir()
            for file, contents in case.files.items():
                content = contents.encode() if isinstance(contents, str) else contents
                (folder / file).write_bytes(content)
            variables = {
                "SOURCES__NP6__API_KEY": sandbox.key,
                "SOURCES__NP6__BASE_URL": sandbox.url,
                "DLT_DATA_DIR": str(folder / "dlt-data"),
            } | case.variables
            given = {name: value for name, value in variables.items() if value}
            command_line = CommandLine(folder)
            if name in ALONE:
                found[name] = folder, command_line.run("np6_to_duckdb", *case.options, **given)
            else:
                environment = command_line.environment | given
                found[name] = (
                    folder,
                    process.run("np6_to_duckdb", case.options, folder, environment),
                )
        yield found
        assert sandbox.requests == []


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(ended: dict[str, Any], name: str) -> None:
    folder, process = ended[name]
    for words in CASES[name].says:
        assert words in process.stderr
    assert "Traceback" not in process.stderr
    assert "Usage" not in process.stderr
    assert "someone-elses" not in process.stderr
    assert process.returncode == 2
    if "--json" in CASES[name].options:
        document = json.loads(process.stdout)
        (problem,) = document["problems"]
        assert (document["exit_status"], problem["what"] in process.stderr) == (2, True)
    else:
        assert process.stdout == ""
    assert list(folder.glob("*.duckdb*")) == []


def test_each_refusal_is_one_line_but_for_the_key(ended: dict[str, Any]) -> None:
    lines = {name: len(process.stderr.splitlines()) for name, (_, process) in ended.items()}
    assert [name for name, number in lines.items() if number != 1] == ["no key"]


class TestNames:
    @pytest.mark.parametrize(
        "words", [["a,b"], ["a", "b"], ["a", "--resources", "b"], ["a, b,", "a"]]
    )
    def test_they_stand_side_by_side_or_with_commas_between(self, words: list[str]) -> None:
        options = parse(["--resources", *words, "--dimensions", "actions,campaigns"])
        assert (options.resources, options.dimensions) == (["a", "b"], ["actions", "campaigns"])

    def test_every_command_takes_names_of_resources_alike(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        taken = {}
        for command in COMMANDS:
            with pytest.raises(SystemExit):
                parse_command([command, "--help"])
            if "--resources" in capsys.readouterr().out:
                span = ["--start", "2024-03-01", "--end", "2024-03-02"]
                needed = span if command == "gaps" else []
                options = parse_command([command, *needed, "--resources", "a,b", "c"])
                taken[command] = options.resources
        those = ("load", "check", "plan", "gaps", "recheck", "status")
        assert taken == {command: ["a", "b", "c"] for command in those}

    @pytest.mark.parametrize("words", [["mpp,gsr"], ["mpp", "gsr"], ["mpp", "--classes", "gsr"]])
    def test_they_replace_what_is_taken_without_any(self, words: list[str]) -> None:
        assert parse_command(["robots"]).classes == ["mpp", "gsr", "genericrobot"]
        assert parse_command(["robots", "--classes", *words]).classes == ["mpp", "gsr"]

    def test_the_help_lists_every_resource_wrapped(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "90")
        with pytest.raises(SystemExit):
            parse(["--help"])
        shown = capsys.readouterr().out
        for endpoint in ENDPOINTS:
            assert re.search(rf"\b{endpoint.name}[,.]", shown), endpoint.name
        assert max(map(len, shown.splitlines())) <= 90

    def test_the_help_shows_names_in_brackets(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse_command(["probe", "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "into [sources.np6] of .dlt/config.toml" in shown

    @pytest.mark.parametrize("command", COMMANDS)
    def test_the_help_says_the_exit_statuses(
        self, capsys: pytest.CaptureFixture[str], command: str
    ) -> None:
        with pytest.raises(SystemExit):
            parse_command([command, "--help"])
        assert "Exit status 0: " in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words", [["lode", "--json"], *([one, "--json", "--no-such"] for one in COMMANDS)]
    )
    def test_what_it_refuses_is_in_the_json_object_too(
        self, capsys: pytest.CaptureFixture[str], words: list[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            parse_command(words)
        shown = capsys.readouterr()
        document = json.loads(shown.out)
        assert list(document) == list(document_of("load", 0))
        assert document["command"] == words[0]
        assert document["exit_status"] == ended.value.code == 2
        (problem,) = document["problems"]
        assert problem["what"] in shown.err


class TestIds:
    def test_an_option_given_again_adds_to_the_first(self) -> None:
        options = parse(["--action-ids", "A", "B", "--action-ids", "C"])
        assert options.action_ids == ["A", "B", "C"]

    @pytest.mark.parametrize(
        ("texts", "ids"),
        [
            (["A", "B"], ["A", "B"]),
            (["A,B", " C "], ["A", "B", "C"]),
            (["A,,B,"], ["A", "B"]),
            (["A", "B", "A"], ["A", "B"]),
        ],
    )
    def test_they_stand_side_by_side_or_with_commas_between(
        self, texts: list[str], ids: list[str]
    ) -> None:
        assert ids_of(texts, "--action-ids") == ids

    def test_a_file_has_one_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "ids.txt"
        file.write_bytes(b"\xef\xbb\xbfA\r\n\r\n  B  \nDupont, Jean\n")
        assert ids_of([f"@{file}", "C"], "--target-unicities") == ["A", "B", "Dupont, Jean", "C"]

    def test_a_file_in_another_charset_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "ids.txt"
        file.write_bytes(b"\xe9t\xe9\n")
        with pytest.raises(SettingError, match=r"ids\.txt is no UTF-8 text"):
            ids_of([f"@{file}"], "--target-unicities")


class TestAFileThatIsAnotherUsers:
    """Root may write everywhere: the permission that others lack is taken away here."""

    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "events.db"
        duckdb.connect(str(file)).close()
        may = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: may(path, mode) and (path != file or mode == os.R_OK)
        )
        monkeypatch.setenv("SOURCES__NP6__API_KEY", "a-key-of-nobody")
        monkeypatch.setenv("SOURCES__NP6__BASE_URL", "http://127.0.0.1:9/")
        return file

    @pytest.mark.parametrize("command", ["load", "views"])
    def test_it_is_refused_where_it_would_be_written_to(
        self, command: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--duckdb-file", str(file), "--pipelines-dir", str(tmp_path)]
        assert main([command, *where]) == 2
        assert capsys.readouterr().err == (
            f"The DuckDB file {file} cannot be written to by this user: change its permissions or"
            " its owner, or give another --duckdb-file\n"
        )

    def test_it_is_opened_for_a_command_that_reads(
        self, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--duckdb-file", str(file), "--pipelines-dir", str(tmp_path)]
        assert main(["status", *where]) == 4
        assert "Nothing is loaded here" in capsys.readouterr().err


def test_the_working_folder_is_the_given_one_or_that_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINES__NP6_TO_DUCKDB__PIPELINES_DIR", str(tmp_path / "configured"))
    for options, expected in (([], "configured"), (["--pipelines-dir", "given"], "given")):
        found = parse(options)
        assert pipelines_dir(found).resolve() == tmp_path / expected
        # Checks, locks and loads look in the same place.
        assert Path(open_pipeline(found).pipelines_dir).resolve() == tmp_path / expected
