"""The command line as people call it: one line for a failure, masked secrets, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from threads_agent_dagster.local import schema


def _run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "threads_agent_dagster.cli", *arguments]
    environment = {**os.environ, "THREADS_AGENT_HOME": str(home), **variables}
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


def test_config_show_masks_secrets(tmp_path: Path) -> None:
    done = _run(
        tmp_path, "config", "show", "--json", OPENAI_API_KEY="sk-canary", DATABASE_URL="postgresql://u:canary@h/d"
    )
    assert done.returncode == 0
    assert "canary" not in done.stdout
    assert json.loads(done.stdout)["OPENAI_API_KEY"] == "**********"
    assert json.loads(done.stdout)["THREADS_AGENT_HOME"] == str(tmp_path)


def test_a_failure_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = _run(tmp_path, "db", "check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("threads-agent: no platform is ready")


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    done = _run(tmp_path, "db", "check", DATABASE_URL="postgresql://u:canary@127.0.0.1:1/d")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "canary" not in done.stderr


def test_it_tells_its_version(tmp_path: Path) -> None:
    assert _run(tmp_path, "--version").stdout == f"{version('threads-agent-dagster')}\n"


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert _run(tmp_path, "up", "--ports", "some").returncode == 2


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = _run(tmp_path, "config", "show", THREADS_AGENT_DASH_PORT="many")
    assert done.returncode == 1
    assert "dash_port" in done.stderr.lower()


def test_a_home_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _run(tmp_path, "status", "--home", str(tmp_path / "file")).stderr == ""
    done = _run(tmp_path, "up", "--home", str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr == (
        f"threads-agent: the data cannot be kept in {tmp_path}/file (File exists); set THREADS_AGENT_HOME\n"
    )


def test_status_and_down_work_with_nothing_running(tmp_path: Path) -> None:
    status = _run(tmp_path, "status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout)["ready"] is False
    assert _run(tmp_path, "down").stdout == "nothing was running\n"


def test_db_upgrade_prepares_an_empty_database_for_us_and_for_dagster(tmp_path: Path, empty_database_url: str) -> None:
    done = _run(tmp_path, "db", "upgrade", "--no-backup", "--dagster", DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stderr
    assert _run(tmp_path, "db", "check", DATABASE_URL=empty_database_url).returncode == 0
    assert schema.dagster_version(empty_database_url) == version("dagster")
    assert not list((tmp_path / "dagster").iterdir()), "the files of a platform in this home are not ours to write"
