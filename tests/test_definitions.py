"""House rules that hold for everything Dagster loads."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from threads_agent_dagster.definitions import defs

ROOT = Path(__file__).parent.parent
HEAVY = {
    "dash",
    "great_expectations",
    "kubernetes",
    "onnxruntime",
    "openai",
    "pandas",
    "plotly",
    "qdrant_client",
    "scipy",
    "sklearn",
}
LOAD = """
import sys
from threads_agent_dagster.definitions import defs
defs.get_repository_def().load_all_definitions()
print(*sorted({name.partition('.')[0] for name in sys.modules}))
"""


def _specs() -> list[dg.AssetSpec]:
    return sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)


def _home_of(spec: dg.AssetSpec) -> str:
    """The module under assets/ whose source defines the asset."""
    name = spec.key.to_user_string()
    for path in (ROOT / "assets").glob("*.py"):
        module = importlib.import_module(f"assets.{path.stem}")
        if isinstance(getattr(module, name, None), dg.AssetSpec | dg.AssetsDefinition) and path.stem != "__init__":
            return path.stem
    raise AssertionError(f"no module of assets/ defines {name}")


@pytest.mark.parametrize("spec", _specs(), ids=lambda spec: spec.key.to_user_string())
def test_every_asset_says_what_it_is(spec: dg.AssetSpec) -> None:
    assert spec.owners
    assert spec.kinds
    assert {"layer", "pii"} <= set(spec.tags)
    assert spec.description
    assert spec.group_name == _home_of(spec)
    assert spec.metadata["dagster/table_name"].startswith("public.")
    assert spec.metadata["dagster/column_schema"].columns


@pytest.mark.parametrize(
    "asset", sorted(defs.resolve_asset_graph().executable_asset_keys), ids=lambda key: key.to_user_string()
)
def test_every_made_asset_has_checks_version_and_lineage(asset: dg.AssetKey) -> None:
    graph = defs.resolve_asset_graph()
    node = graph.get(asset)
    assert node.code_version
    assert graph.get_check_keys_for_assets({asset})
    assert "dagster/column_lineage" in node.metadata


def test_every_check_says_what_it_looks_for() -> None:
    graph = defs.resolve_asset_graph()
    assert [key for key in graph.asset_check_keys if not graph.get_check_spec(key).description] == []


def test_sensors_and_schedules_run_without_being_asked() -> None:
    repository = defs.get_repository_def()
    assert {sensor.default_status for sensor in repository.sensor_defs} == {dg.DefaultSensorStatus.RUNNING}
    assert {schedule.default_status for schedule in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}


def test_definitions_load_in_a_fresh_interpreter_with_an_empty_environment(tmp_path: Path) -> None:
    loaded = subprocess.run([sys.executable, "-c", LOAD], env={}, cwd=tmp_path, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert not HEAVY & set(loaded.stdout.split()), "import weight is reaction time"


def test_rooms_hold_only_their_docstring() -> None:
    """A room's __init__.py says its law and nothing else."""
    for path in ROOT.glob("[a-z]*/**/__init__.py"):
        if ".venv" in path.parts or "tests" in path.parts:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, f"{path} holds code"
        assert isinstance(body[0], ast.Expr), f"{path} has no docstring"
