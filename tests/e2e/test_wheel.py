"""The wheel carries all that it needs: models, migrations, static files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).parent.parent.parent
LOAD = "from threads_agent_dagster.definitions import defs; defs.get_repository_def().load_all_definitions()"
SCORE = '{"id": "1", "text": "I am so happy today!"}\n'


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    keep = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"} or "PIP_" in name}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=keep | environment, input=SCORE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment, in another directory, with nothing but the wheel and the lock."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    uv, python = Path(sys.executable).with_name("uv"), folder / "venv" / "bin" / "python"
    lock = ("--require-hashes", "-r", ROOT / "requirements.lock")
    _run(uv, "pip", "install", "-q", "--system-certs", "--python", python, *lock, cwd=folder)
    _run(uv, "pip", "install", "-q", "--system-certs", "--python", python, "--no-deps", wheel, cwd=folder)
    return python.parent


def test_definitions_load(installed: Path, tmp_path: Path) -> None:
    _run(installed / "python", "-c", LOAD, cwd=tmp_path)


def test_doctor_passes(installed: Path, tmp_path: Path) -> None:
    ports = {
        f"THREADS_AGENT_{name}_PORT": "0" for name in ("ORCHESTRATOR", "ACHIEVEMENTS", "PROMPTS", "DAGSTER", "DASH")
    }
    _run(installed / "threads-agent", "doctor", cwd=tmp_path, THREADS_AGENT_HOME=str(tmp_path / "home"), **ports)


def test_the_models_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert '"joy"' in _run(installed / "threads-agent", "emotions", "score", cwd=tmp_path)
