"""What the commands' options share, each named once."""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import signal
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from dlt.extract import DltSource
from rich_argparse import RawDescriptionRichHelpFormatter

from .. import np6_source
from ..dimensions import DIMENSIONS
from ..endpoints import ENDPOINTS, ID_ARGUMENTS
from ..errors import SettingError, did_you_mean, nearest
from .terminal_log import OncePerCause, is_news, without_traceback

DATES = (
    "Dates: 2024-05-01, 2024-05-01T10:00:00+02:00, or milliseconds since the epoch. Without an"
    " offset they are UTC. A start is inclusive, an end exclusive."
)
"""What every help says of dates."""


def _resources() -> str:
    """Every resource, by what it loads."""
    of_account = [endpoint.name for endpoint in ENDPOINTS if endpoint.id_argument is None]
    lines = [f"Resources over the whole account: {', '.join(of_account)}."]
    for name in ID_ARGUMENTS:
        those = [endpoint.name for endpoint in ENDPOINTS if endpoint.id_argument == name]
        lines.append(f"By --{name.replace('_', '-')}: {', '.join(those)}.")
    return "\n".join(lines)


RESOURCES = _resources()
"""What a help says of the names that ``--resources`` takes."""

CHECKPOINT = 1_000_000
"""Events after which a load package is committed, unless an option says otherwise."""

UNUSABLE_OPTION = 2
"""``argparse``'s exit status, and ours."""


WIDTH = 100
"""Columns that the paragraphs of a help take at most."""


class _HelpFormatter(RawDescriptionRichHelpFormatter):
    """``rich_argparse``'s, which keeps the paragraphs of a text and wraps each."""

    # A section such as [sources.np6] is text; as markup it would vanish.
    help_markup = text_markup = False

    def add_text(self, text: Any) -> None:
        """A description or an epilog."""
        width = min(shutil.get_terminal_size().columns - 2, WIDTH)
        if isinstance(text, str) and text is not argparse.SUPPRESS:
            text = "\n".join(textwrap.fill(part, width) for part in text.splitlines())
        super().add_text(text)


class Names(argparse.Action):
    """Keeps names given side by side, with commas between, or in several options of the name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Adds the option's values to those before, each once."""
        given = [one for value in values for part in value.split(",") if (one := part.strip())]
        if not given:
            parser.error(f"argument {option_string}: names nothing")
        before = getattr(namespace, self.dest)
        earlier = [] if before is self.default else before
        setattr(namespace, self.dest, list(dict.fromkeys([*earlier, *given])))


class Parser(argparse.ArgumentParser):
    """``argparse``'s, which names the option or the command that was probably meant."""

    def __init__(self, commands: Iterable[str] = (), **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(**options)
        self.commands = tuple(commands)
        self._given: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See ``argparse``; an error has to know whether ``--json`` is among them."""
        self._given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """One sentence: thirty options before it would hide it. With ``--json`` the object, too."""
        advice = "--help lists the options."
        if found := re.search(r"COMMAND: invalid choice: '(.*?)'", message):
            message = f"there is no command {found[1]}{did_you_mean(found[1], self.commands)}"
            advice = "--help lists the commands."
        if "--json" in self._given:
            self._print_document(message, advice)
        self.exit(UNUSABLE_OPTION, f"{self.prog}: {message}. {advice}\n")

    def _print_document(self, message: str, advice: str) -> None:
        from .document import Problem, print_document

        command = self.prog.rpartition(" ")[2]
        if self.commands:
            command = self._given[0]
        elif command.endswith(".py"):
            command = "load"
        problem = Problem("error", SettingError.__name__, f"{message}.", advice=advice)
        print_document(command, UNUSABLE_OPTION, problems=[problem])

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options; refuses those it does not know."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            # The parser of a command reports to this one.
            asked = getattr(options, "parser", self)
            known = [*asked._option_string_actions]
            close = {one: nearest(one.split("=")[0], known) for one in unknown if one[:1] == "-"}
            hints = "".join(f" (did you mean {name}?)" for name in close.values() if name)
            asked.error(f"unrecognized arguments: {' '.join(unknown)}{hints}")
        return options


def add_names_option(group: argparse._ArgumentGroup, option: str, what: str) -> None:
    """An option that takes names, side by side or with commas between."""
    group.add_argument(option, nargs="+", action=Names, metavar="NAME", help=what)


def add_address_option(group: argparse._ArgumentGroup) -> None:
    """Where the API is."""
    group.add_argument("--base-url", metavar="URL", help="root of the API; default: NP6's own")


def given_address(options: argparse.Namespace) -> dict[str, str]:
    """The argument of ``np6_source`` that says where the API is, where it was given."""
    return {} if options.base_url is None else {"base_url": options.base_url}


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which pipeline, destination and dataset."""
    group = parser.add_argument_group("where to")
    group.add_argument(
        "--pipeline",
        default="np6_to_duckdb",
        metavar="NAME",
        help="name of the dlt pipeline (%(default)s)",
    )
    group.add_argument(
        "--destination",
        metavar="NAME",
        help="any dlt destination, configured as dlt's documentation says (duckdb)",
    )
    group.add_argument(
        "--duckdb-file",
        type=Path,
        metavar="FILE",
        help="the DuckDB file; default: PIPELINE.duckdb in this folder",
    )
    group.add_argument(
        "--dataset", default="np6", metavar="NAME", help="dataset or schema (%(default)s)"
    )
    group.add_argument(
        "--pipelines-dir",
        metavar="FOLDER",
        help="where dlt keeps its working files; default: ~/.dlt/pipelines",
    )


def add_id_options(
    parser: argparse.ArgumentParser,
    kinds: Sequence[str] = ID_ARGUMENTS,
    what: str = "Each kind selects the resources that load by it, and only those.",
) -> None:
    """An option for each kind of id.

    Args:
        parser: Gets them.
        kinds: The kinds, as parameters of ``np6_source``.
        what: What the ids are for.
    """
    group = parser.add_argument_group(
        "ids",
        f"{what} Give ids side by side or with commas between; @FILE takes them from a file and -"
        " from standard input, one a line.",
    )
    for name in kinds:
        option = "--" + name.replace("_", "-")
        group.add_argument(option, nargs="+", action="extend", metavar="ID", dest=name)


def add_output_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Options that say how much is printed, and in which form; returns their group."""
    group = parser.add_argument_group("output")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--quiet", action="store_true", help="print nothing but failures")
    form.add_argument(
        "--json", action="store_true", help="print one JSON object, and nothing else, to stdout"
    )
    group.add_argument(
        "--debug", action="store_true", help="log every request, window and attempt to stderr"
    )
    return group


def given_ids(options: argparse.Namespace) -> dict[str, list[str]]:
    """The ids of ``add_id_options`` that were given; standard input is read once.

    Raises:
        SettingError: A file cannot be read, holds no ids, or an id is no Unicode text.
    """
    if not hasattr(options, "ids_read"):
        options.ids_read = {
            name: ids_of(texts, "--" + name.replace("_", "-"))
            for name in ID_ARGUMENTS
            if (texts := getattr(options, name, None)) is not None
        }
    found: dict[str, list[str]] = options.ids_read
    return found


def ids_of(texts: Iterable[str], option: str) -> list[str]:
    """The ids in an option's values, each once.

    Args:
        texts: ``A``, ``A,B``, ``@FILE`` or ``-``.
        option: The option, for the message.

    Raises:
        SettingError: A file cannot be read, holds no ids, or an id is no Unicode text.
    """
    found: list[str] = []
    for text in texts:
        found.extend(_ids_of_one(text, option))
    if not found:
        raise SettingError(f"{option} holds no ids")
    for number, one in enumerate(found, 1):
        if not _is_unicode(one):
            raise SettingError(f"{option}: {one!a} is no Unicode text")
        if any(unicodedata.category(character) == "Cc" for character in one):
            raise SettingError(f"{option}: value {number} has a control character in it")
    return list(dict.fromkeys(found))


def _ids_of_one(text: str, option: str) -> list[str]:
    if text == "-":
        if sys.stdin is None:
            raise SettingError(f"{option} -: standard input is closed")
        return _lines(sys.stdin.read())
    if not text.startswith("@"):
        return [one for part in text.split(",") if (one := part.strip())]
    file = Path(text[1:])
    try:
        ids = _lines(file.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingError(f"{option}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingError(f"{option}: {file} is no UTF-8 text") from None
    if not ids:
        raise SettingError(f"{option}: {file} holds no ids")
    return ids


def _lines(text: str) -> list[str]:
    lines = text.removeprefix("\ufeff").splitlines()
    return [one for line in lines if (one := line.strip())]


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_resources(resources: Iterable[str], known: Iterable[str] | None = None) -> None:
    """Refuses names of resources that are not there.

    Raises:
        SettingError: Names the nearest.
    """
    names = [endpoint.name for endpoint in ENDPOINTS] if known is None else list(known)
    for name in resources:
        if name not in names:
            raise SettingError(
                f"There is no resource {name}{did_you_mean(name, names)}. `np6-source load --help`"
                " lists all."
            )


def make_source(resources: Iterable[str] | None = None, **arguments: Any) -> DltSource:
    """The source, with just these resources where any are named, and the requested names.

    Raises:
        SettingError: A parameter cannot be used, or there is no such resource.
        ConfigFieldMissingException: There is no key.
    """
    source = np6_source(**arguments)
    if resources is None:
        return source
    check_resources(resources, source.resources)
    asked = [row.name for row in DIMENSIONS if row.name in source.selected_resources]
    return source.with_resources(*dict.fromkeys((*resources, *asked)))


@contextmanager
def ending_between_windows() -> Iterator[Callable[[], int]]:
    """Turns the first SIGTERM or Ctrl-C into a wish to stop; a second one ends at once.

    Yields:
        A function that returns the number of the signal received, 0 for none.
    """
    received: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        print("Stopping after the current window; what is complete is loaded.", file=sys.stderr)

    previous: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number in previous:
        signal.signal(number, ask)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def configure_logging(options: argparse.Namespace) -> None:
    """Warnings and errors go to standard error, see ``terminal_log``; ``--debug``: all of ours.

    Failures that the report names at the end are not logged besides.
    """
    dlts = logging.getLogger("dlt")
    if options.debug:
        logging.basicConfig(
            level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", force=True
        )
        logging.getLogger("np6_source").setLevel(logging.DEBUG)
        dlts.removeFilter(is_news)
        dlts.removeFilter(without_traceback)
        return
    handler = OncePerCause(sys.stderr)
    handler.addFilter(lambda record: not getattr(record, "in_metrics", False))
    if getattr(options, "quiet", False):
        # What is tried again has not failed.
        handler.addFilter(lambda record: not hasattr(record, "cause"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    dlts.addFilter(is_news)
    dlts.addFilter(without_traceback)
    # How many requests action_ids=all means is told before they are sent.
    logging.getLogger("np6_source.extract.action_list").setLevel(logging.INFO)
