"""What people read when it is ready: commands that work as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.foreground import summary
from threads_agent_dagster.local.home import Home

ENDPOINTS = Endpoints("http://o", "http://a", "http://p", "http://dagster", "http://dash", "secret", "/key")


def _doctor(shown: str) -> str:
    """The command that a text shows for when something is odd."""
    line = next(line for line in shown.splitlines() if "when something is odd" in line)
    return line.split("odd")[1].strip()


def test_commands_name_the_home_where_the_settings_would_lead_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADS_AGENT_HOME", str(tmp_path))
    assert not _doctor(summary(Home(tmp_path), ENDPOINTS, None, "Ctrl-C")).endswith(f"--home {tmp_path}")
    monkeypatch.setenv("THREADS_AGENT_HOME", str(tmp_path / "other"))
    assert _doctor(summary(Home(tmp_path), ENDPOINTS, None, "Ctrl-C")).endswith(f"doctor --home {tmp_path}")


def test_the_command_is_found_without_an_active_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(Path(sys.executable).parent.parent)
    program = _doctor(summary(Home(tmp_path), ENDPOINTS, None, "Ctrl-C")).split()[0]
    assert program == f"{Path(sys.executable).parent.name}/threads-agent"
    assert subprocess.run([program, "--help"], capture_output=True, check=False).returncode == 0


def test_a_key_is_shown_once_and_the_databases_password_never(tmp_path: Path) -> None:
    assert "ta_key  (shown this once" in summary(Home(tmp_path), ENDPOINTS, "ta_key", "Ctrl-C")
    assert "secret" not in summary(Home(tmp_path), ENDPOINTS, None, "Ctrl-C")
