"""A log stays bounded, whatever becomes of its older part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from threads_agent_dagster.local.logs import bound, older


def test_what_is_too_large_becomes_the_older_log(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    bound(log, largest=3)
    assert not log.exists()
    for text in ("one", "three", "four"):
        log.write_text(text)
        bound(log, largest=3)
        assert log.read_text() == ("one" if text == "one" else "")
    assert older(log).read_text() == "four"


def test_without_room_for_the_older_part_the_log_is_bounded_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy", full)
    log = tmp_path / "api.log"
    log.write_text("lines")
    bound(log, largest=3)
    assert log.read_text() == ""
    assert not older(log).exists()
