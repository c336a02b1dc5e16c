"""What the chart's containers start exists, with the options it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from threads_agent_dagster.api.apps import ROUTERS

Object = dict[str, Any]


def _container(owner: Object) -> Object:
    [container] = owner["spec"]["template"]["spec"]["containers"]
    return dict(container)


def _accepts(command: Any, arguments: list[str]) -> None:
    """Parse the arguments without running anything: an unknown option fails before --help is seen."""
    result = CliRunner().invoke(command, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_every_api_is_served(chart: Any) -> None:
    for name in ROUTERS:
        command = _container(chart.of_kind("Deployment")[name])["command"]
        assert command == ["python", "-m", "threads_agent_dagster.api", name]


def test_dagster_knows_the_options(least: Any) -> None:
    from dagster._cli.api import grpc_command
    from dagster._daemon.cli import run_command
    from dagster_webserver.cli import dagster_webserver

    known = {
        "code": (["python", "-m", "dagster", "api", "grpc"], grpc_command),
        "daemon": (["python", "-m", "threads_agent_dagster.dagster_fast.daemon", "run"], run_command),
        "webserver": (["python", "-m", "dagster_webserver"], dagster_webserver),
    }
    for name, (start, command) in known.items():
        given = _container(least.of_kind("Deployment")[name])["command"]
        assert given[: len(start)] == start
        _accepts(command, given[len(start) :])


def test_dagster_s_options_are_really_looked_at() -> None:
    from dagster._daemon.cli import run_command

    with pytest.raises(AssertionError, match="No such option"):
        _accepts(run_command, ["--no-such-option"])


def test_the_migration_is_a_command_of_ours(least: Any, tmp_path: Any) -> None:
    program, *arguments = _container(least.of_kind("Job")["migration"])["command"]
    assert program == "threads-agent"
    command = [sys.executable, "-m", "threads_agent_dagster.cli", *arguments]
    environment = {**os.environ, "THREADS_AGENT_HOME": str(tmp_path), "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "an unknown option would be exit code 2"
    assert "does not answer" in done.stderr


@pytest.mark.parametrize(("seconds_ago", "alive"), [(None, False), (5, True), (600, False)])
def test_the_daemon_s_probe_asks_for_its_heartbeat(
    least: Any, engine: Engine, database_url: str, seconds_ago: int | None, alive: bool
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA dagster"))
        connection.execute(text('CREATE TABLE dagster.daemon_heartbeats ("timestamp" timestamp)'))
        if seconds_ago is not None:
            beat = (
                "INSERT INTO dagster.daemon_heartbeats VALUES (now() AT TIME ZONE 'UTC' - make_interval(secs => :ago))"
            )
            connection.execute(text(beat), {"ago": seconds_ago})
    _python, *probe = _container(least.of_kind("Deployment")["daemon"])["livenessProbe"]["exec"]["command"]
    environment = {**os.environ, "DATABASE_URL": database_url}
    done = subprocess.run([sys.executable, *probe], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is alive, done.stderr
    assert done.stderr == ""
