"""A naming convention of a host's own: upper case."""

from __future__ import annotations

from dlt.common.normalizers.naming.sql_cs_v1 import NamingConvention as SqlNamingConvention


class NamingConvention(SqlNamingConvention):
    """Identifiers in capitals."""

    def normalize_identifier(self, identifier: str) -> str:
        return super().normalize_identifier(identifier).upper()

    @property
    def is_case_sensitive(self) -> bool:
        return True
