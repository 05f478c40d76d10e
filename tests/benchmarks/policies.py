"""What a policy for personal data costs: the same hits loaded under each, by CPU seconds.

Every hit is of another contact, with an address and a hash of its own: that is the dear case, for
a value that comes again is digested once. Measured are whole processes, interleaved.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import machine
from one_load import Task, load_alone
from prepared import BUILD, END, START, hits_file, iso
from server import KEY, serving
from table import as_text, say, say_checks
from targets import CPU_OF_POLICY, at_most, exit_status

NONE, PSEUDONYMS, STRICT = "none", "pseudonyms", "strict"
PII_KEY = "a key of the benchmark, 32 bytes or more"
SOURCES: dict[str, dict[str, str]] = {
    NONE: {},
    PSEUDONYMS: {"pii": "pseudonyms", "pii_key": PII_KEY},
    STRICT: {"pii": "strict", "pii_key": PII_KEY},
}
HEADER = ("policy", "CPU s", "from - to", "to none", "from - to", "")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5, help="rounds over all policies")
    parser.add_argument("--json", type=Path, default=BUILD / "policies.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns exit status 1 where the target is missed."""
    options = parse(arguments)
    file = hits_file(options.events, contacts=options.events).resolve()
    costs: dict[str, list[float]] = {policy: [] for policy in SOURCES}
    with (
        tempfile.TemporaryDirectory(dir=BUILD.resolve(), prefix="policies-") as name,
        serving(file, START) as served,
    ):
        for repeat in range(options.repeats + 1):
            for policy, source in SOURCES.items():
                folder = Path(tempfile.mkdtemp(dir=name))
                span = {"start": iso(START), "end": iso(END), "window": 86_400}
                task = Task(
                    served.url,
                    KEY,
                    str(folder / "policies.duckdb"),
                    str(folder / "pipelines"),
                    source=span | source,
                )
                found, cost = load_alone(task, folder)
                assert found["events"] == options.events, found
                # The first round fills the caches.
                if repeat:
                    costs[policy].append(cost.cpu_seconds)
    result: dict[str, Any] = {"machine": machine(), "events": options.events, "cpu_seconds": costs}
    options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    to_none = {
        policy: [one / none for one, none in zip(costs[policy], costs[NONE], strict=True)]
        for policy in SOURCES
    }
    say(as_text(HEADER, [_row(policy, costs[policy], to_none[policy]) for policy in SOURCES]))
    text = f"pseudonyms take at most {CPU_OF_POLICY:g} of the CPU without a policy"
    checks = [at_most(text, statistics.median(to_none[PSEUDONYMS]), CPU_OF_POLICY)]
    say_checks(checks)
    say(f"Medians of {options.repeats} interleaved rounds. Results are in {options.json}.")
    return exit_status(checks)


def _row(policy: str, seconds: Sequence[float], to_none: Sequence[float]) -> list[str]:
    return [
        policy,
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f} - {max(seconds):.2f}",
        f"{statistics.median(to_none):.2f}",
        f"{min(to_none):.2f} - {max(to_none):.2f}",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
