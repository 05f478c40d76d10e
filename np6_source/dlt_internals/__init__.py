"""What this package uses of dlt that dlt does not promise, each with the version it was read in.

An upgrade of dlt is a review of this folder (and of ``open_tables.jobs`` and ``duck``) and a run of
its tests.
"""
