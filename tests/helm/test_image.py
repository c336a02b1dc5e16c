"""The image's recipe, as far as text can tell: nothing here can build it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stages() -> dict[str, str]:
    """The instructions of each stage, with continued lines joined and comments left out."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    before, build, final = re.split(r"^FROM .*$", text, flags=re.MULTILINE)
    return {"before": before, "build": build, "final": final}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_the_base_has_a_version_that_the_project_supports(stages: dict[str, str], project: dict[str, Any]) -> None:
    found = re.search(r"ARG PYTHON=python:(3\.\d+)-slim\s*$", stages["before"])
    assert found is not None
    assert found[1] in SpecifierSet(project["project"]["requires-python"])


def test_both_stages_stand_on_the_same_base() -> None:
    bases = re.findall(r"^FROM (\S+)", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert bases == ["${PYTHON}", "${PYTHON}"]


def test_nothing_is_installed_without_a_hash_but_the_project_itself(stages: dict[str, str]) -> None:
    installs = [part for part in re.split(r"&&|RUN", stages["build"]) if " install " in part]
    assert len(installs) == 3
    for one in installs:
        assert "--no-deps" in one
        assert "--require-hashes" in one or one.split()[-1] == "."


def test_the_last_stage_installs_nothing(stages: dict[str, str]) -> None:
    assert not re.search(r"\b(apt-get|apk|curl|wget|install)\b", stages["final"])
    assert stages["final"].count("COPY") == 1


def test_the_image_runs_as_the_account_of_the_chart(stages: dict[str, str], least: Any) -> None:
    context = least.of_kind("Deployment")["dash"]["spec"]["template"]["spec"]["securityContext"]
    assert re.findall(r"^USER (.*)$", stages["final"], flags=re.MULTILINE) == [
        f"{context['runAsUser']}:{context['runAsGroup']}"
    ]
    assert f"--uid {context['runAsUser']} " in stages["final"]


def test_no_entry_point_stands_before_what_the_chart_starts(stages: dict[str, str]) -> None:
    """The run launcher gives arguments only, which are a whole command."""
    assert "ENTRYPOINT" not in stages["final"]


def test_what_the_wheel_is_built_from_gets_in_and_nothing_else(project: dict[str, Any]) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    wheel = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    described = {project["project"]["readme"], *project["project"]["license-files"]}
    assert "*" in lines
    assert allowed == wheel | described | {"pyproject.toml", "requirements.lock", "requirements-uv.lock"}
