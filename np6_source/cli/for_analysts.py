"""What a command does for analysts when its load is done: views, ``messages`` as a table, a copy.

Each has an option and a setting of the same name in ``[sources.np6]``; the option takes precedence.
A schedule that has the settings needs no options.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import dlt

from ..dataset_lock import to_read
from ..errors import SettingError
from ..parameters import one_of
from ..views import MESSAGE_KEYS, TMessageKey, TMode
from ..views.publishing import check_publishing, publish

SECTION = "sources.np6"


@dataclass(frozen=True)
class Setting:
    """A setting of the commands, beside the parameters of ``np6_source``.

    Attributes:
        default: What holds where nothing is configured; None: see the meaning.
        meaning: For the documentation.
        choices: Its values; none: any text.
    """

    default: str | None
    meaning: str
    choices: tuple[str, ...] = ()


SETTINGS: Mapping[str, Setting] = {
    "views": Setting(
        "auto",
        "Whether a load makes the views: `auto`, `require` (exit status 1 where that fails) or"
        " `off`.",
        get_args(TMode),
    ),
    "materialize": Setting(
        None,
        "`messages`: keep `messages` as a table, ten times as quick to ask; on DuckDB and"
        " PostgreSQL. `nothing`: as a view. None: as it is in the dataset.",
        ("messages", "nothing"),
    ),
    "message_key": Setting(
        None,
        "What makes events one message in `messages`: `stamp`, or where executions have stamps of"
        " their own `action_contact`, see [views.md](views.md#what-is-one-message). None: as it is"
        " in the dataset, at first by `stamp`.",
        MESSAGE_KEYS,
    ),
    "publish": Setting(
        None,
        "File to which the DuckDB file is copied after each load, for readers whom a load would"
        " lock out. A relative path is relative to the folder of the call.",
    ),
}


@dataclass(frozen=True)
class ForAnalysts:
    """What to do after a load.

    Attributes:
        views: See ``views.after_load``.
        materialize: Whether ``messages`` is a table; None: as it is in the dataset.
        message_key: See ``views.make``; None: as it is in the dataset.
        publish: The copy to make; None: none.
    """

    views: TMode
    materialize: bool | None
    message_key: TMessageKey | None
    publish: Path | None

    def check(self, pipeline: dlt.Pipeline) -> None:
        """Refuses a copy that cannot be made.

        Raises:
            SettingError: See ``check_publishing``.
        """
        if self.publish is not None:
            check_publishing(pipeline, self.publish)

    def make_copy(self, pipeline: dlt.Pipeline) -> bool:
        """Makes the copy; returns whether there is one to make.

        Raises:
            PublishingFailed: See ``publish``.
        """
        if self.publish is None:
            return False
        with to_read(pipeline):
            publish(pipeline, self.publish)
        return True


def add_analysts_options(parser: Any, has_views: bool = True) -> None:
    """The options.

    Args:
        parser: A parser, or a group of one.
        has_views: Whether the command can leave the views out.
    """
    if has_views:
        parser.add_argument(
            "--views",
            choices=SETTINGS["views"].choices,
            help="make the views after the load; require: exit status 1 where that fails (auto)",
        )
    parser.add_argument(
        "--materialize",
        choices=SETTINGS["materialize"].choices,
        help="messages: keep messages as a table, ten times as quick to ask; on DuckDB and"
        " PostgreSQL. Default: as it is in the dataset",
    )
    parser.add_argument(
        "--message-key",
        choices=SETTINGS["message_key"].choices,
        help="what makes events one message: stamp, or action_contact where executions have stamps"
        " of their own (np6-source probe tells). Default: as it is in the dataset",
    )
    parser.add_argument(
        "--publish",
        metavar="FILE",
        help="then copy the DuckDB file to FILE by rename, for readers whom a load would lock out;"
        " '': none, where one is configured",
    )


def for_analysts(options: argparse.Namespace) -> ForAnalysts:
    """What the options say, and where they say nothing, the configuration.

    Raises:
        SettingError: A value is none of those there are.
    """
    found = {name: _value(name, getattr(options, name, None)) for name in SETTINGS}
    views: Any = found["views"]
    materialize, copy = found["materialize"], found["publish"]
    return ForAnalysts(
        views,
        None if materialize is None else materialize == "messages",
        message_key_of(options),
        Path(copy) if copy else None,
    )


def message_key_of(options: argparse.Namespace) -> TMessageKey | None:
    """What makes events one message, by the options or the configuration.

    Raises:
        SettingError: There is no such key.
    """
    found: Any = _value("message_key", getattr(options, "message_key", None))
    key: TMessageKey | None = found
    return key


def _value(name: str, given: str | None) -> str | None:
    setting = SETTINGS[name]
    value: Any = given
    if value is None:
        value = dlt.config.get(f"{SECTION}.{name}")
    if value is None or (value == "" and not setting.choices):
        return setting.default
    if setting.choices:
        one_of(value, name, setting.choices)
    if not isinstance(value, str):
        raise SettingError(f"{name}={value!r} must be the name of a file")
    return value
