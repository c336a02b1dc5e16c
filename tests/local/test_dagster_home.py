"""The generated configuration, read by Dagster's own validation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from threads_agent_dagster.local import dagster_home
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.settings import Settings


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("postgresql://u:p@h:1/d", "postgresql+psycopg2://u:p@h:1/d?options=-csearch_path%3Ddagster"),
        ("postgres://u:p@h/d", "postgresql+psycopg2://u:p@h/d?options=-csearch_path%3Ddagster"),
        (
            "postgresql://h/d?sslmode=require",
            "postgresql+psycopg2://h/d?options=-csearch_path%3Ddagster&sslmode=require",
        ),
    ],
)
def test_dagster_gets_a_schema_of_its_own(asked: str, expected: str) -> None:
    got, wanted = dagster_home.storage_url(asked), expected
    assert got.split("?")[0] == wanted.split("?")[0]
    assert sorted(got.split("?")[1].split("&")) == sorted(wanted.split("?")[1].split("&"))


@pytest.mark.parametrize("launcher", ["default", "fast"])
def test_dagster_accepts_the_generated_file(tmp_path: Path, launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config

    home = Home(tmp_path)
    home.create()
    monkeypatch.setenv(dagster_home.URL_VARIABLE, dagster_home.storage_url("postgresql://u:secret@h:1/d"))
    dagster_home.write(home, Settings(home=tmp_path, run_launcher=launcher), code_port=4000)
    config, _ = dagster_instance_config(str(home.dagster))
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] == 5
    assert config["telemetry"] == {"enabled": False}
    assert "secret" not in (home.dagster / "dagster.yaml").read_text()
    [server] = yaml.safe_load(dagster_home.workspace_file(home).read_text())["load_from"]
    assert server["grpc_server"]["port"] == 4000


def test_a_dagster_home_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings(home=home.root, dagster_home=str(tmp_path / "own"))
    dagster_home.write(home, settings, code_port=4000)
    assert not (home.dagster / "dagster.yaml").exists()
    assert dagster_home.folder(home, settings) == tmp_path / "own"
