"""The two commands and the locks that they install from."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
LOCKS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dev"], "requirements-uv.lock": ["install"]}


def _would_do(*arguments: str) -> str:
    """Asked as by a person, also when the tests themselves were started by make, which hands on its options."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_run_starts_the_platform_with_the_demo() -> None:
    assert _would_do("run").endswith("threads-agent up --demo \n")
    assert _would_do("run", "UP=--ports auto").endswith("threads-agent up --demo --ports auto\n")


def test_make_test_checks_everything() -> None:
    does = _would_do("test")
    assert all(tool in does for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "pytest"))
    assert "exec make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_server(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    entries = text.replace("\\\n", "").splitlines()
    asked = [line for line in entries if line.strip() and not line.lstrip().startswith("#")]
    assert [line for line in asked if "--hash=sha256:" not in line] == []


@pytest.mark.parametrize(("name", "groups"), LOCKS.items())
def test_a_lock_meets_what_the_project_asks_for(name: str, groups: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [one for group in groups for one in project["dependency-groups"][group]]
    asked += [] if groups == ["install"] else project["project"]["dependencies"]
    pinned: dict[str, list[str]] = {}
    for package, version in PINNED.findall((ROOT / name).read_text(encoding="utf-8")):
        pinned.setdefault(canonicalize_name(package), []).append(version)
    for requirement in map(Requirement, asked):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"
