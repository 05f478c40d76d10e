"""Loads NP6 events into DuckDB, or any dlt destination: what a scheduler calls.

The same as ``np6-source load``, whose ``--help`` lists the options and exit statuses.
"""

import sys

from np6_source.__main__ import load

if __name__ == "__main__":
    sys.exit(load())
