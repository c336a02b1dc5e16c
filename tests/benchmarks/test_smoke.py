"""Every benchmark still works and is correct, at a tiny size; its figures are judged by `make bench` alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\ndef run(" in path.read_text())


def test_there_are_benchmarks() -> None:
    assert {"reaction_time", "run_cost", "backfill"} <= set(NAMES)


@pytest.mark.timeout(1000)  # it starts platforms of its own; on a busy machine that takes minutes
@pytest.mark.parametrize("name", NAMES)
def test_the_benchmark_works(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "--smoke", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"## {name}\n\n| Goal |" in done.stdout
