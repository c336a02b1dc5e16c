"""Which skills a change shows, and the paths that show them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.changes import FileChange
from threads_agent_dagster.domain.footprint import by_hand
from threads_agent_dagster.domain.languages import language, role

TOOLS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("Docker", r"(^|/)(dockerfile|containerfile|docker-compose|compose\.ya?ml)"),
        ("Helm", r"(^|/)(helm|charts)/|(^|/)chart\.yaml$"),
        ("Kubernetes", r"(^|/)(k8s|kubernetes)/|(^|/)kustomization\.ya?ml$"),
        ("GitHub Actions", r"^\.github/workflows/"),
        ("GitLab CI", r"(^|/)\.gitlab-ci\.yml$"),
        ("Terraform", r"\.tf$"),
        ("Database migrations", r"(^|/)(migrations|alembic)/"),
        ("pytest", r"(^|/)(conftest\.py|pytest\.ini)$"),
        ("Python packaging", r"(^|/)(pyproject\.toml|setup\.(py|cfg)|requirements[^/]*\.(txt|in))$"),
        ("npm", r"(^|/)package\.json$"),
        ("Cargo", r"(^|/)cargo\.toml$"),
        ("Go modules", r"(^|/)go\.mod$"),
        ("Maven", r"(^|/)pom\.xml$"),
        ("Gradle", r"(^|/)build\.gradle(\.kts)?$"),
        ("Make", r"(^|/)makefile$"),
        ("Dagster", r"(^|/)dagster\.ya?ml$"),
        ("dbt", r"(^|/)dbt_project\.ya?ml$"),
        ("Grafana", r"(^|/)grafana/"),
        ("Prometheus", r"(^|/)prometheus(/|\.ya?ml$)"),
    )
)


@dataclass(frozen=True, slots=True)
class Skill:
    """`evidence` names one path and how many more there are."""

    name: str
    evidence: str


def skills(files: Iterable[FileChange]) -> tuple[Skill, ...]:
    """The skill with the most files first. Generated files and pure moves show none."""
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for file in by_hand(files):
        for name in _shown_by(file.path):
            shown[name].append(file.path)
    order = sorted(shown.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Skill(name, _evidence(paths)) for name, paths in order)


def _shown_by(path: str) -> set[str]:
    names = {name for name, pattern in TOOLS if pattern.search(path)}
    spoken = language(path)
    return names | {spoken} if spoken else names | ({"Technical writing"} if role(path) == "docs" else set())


def _evidence(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
