"""What commands see of dlt's working folder without opening the pipeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from np6_source.__main__ import main
from tests.support import Warehouse


def test_a_file_that_is_gone_is_said_to_be_where_the_folder_knows_of_loads(
    loaded: Warehouse, capfd: Any
) -> None:
    loaded.database.unlink()
    assert main(["status", *loaded.where]) == 4
    said = capfd.readouterr().err
    assert said.startswith(f"Nothing is loaded here: there is no file {loaded.database}.")
    assert f"The working folder {loaded.pipelines_dir / loaded.name} knows of loads" in said


@pytest.mark.parametrize("stage", ["normalize/extracted", "load/normalized"])
def test_a_folder_that_this_user_may_not_read_is_refused(
    loaded: Warehouse, stage: str, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Root may read everywhere: the permission that others lack is taken away here."""
    folder, may = loaded.pipelines_dir / loaded.name / stage, os.scandir

    def scandir(path: Any) -> Any:
        if not isinstance(path, int) and Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return may(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["status", *loaded.where]) == 2
    assert capfd.readouterr().err == (
        f"dlt's working folder: {folder} cannot be read by this user: change its permissions or"
        " its owner, or name another folder with --pipelines-dir\n"
    )
