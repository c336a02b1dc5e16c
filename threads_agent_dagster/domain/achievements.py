"""What a change amounts to: category, impact, complexity, skills and claimed value, each with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.business_value import BusinessValue
from threads_agent_dagster.domain.changes import Change

CATEGORIES: Final = (
    "feature",
    "optimization",
    "bugfix",
    "infrastructure",
    "documentation",
    "testing",
    "security",
    "performance",
    "architecture",
    "content",
    "business",
    "milestone",
)
SOURCE_TYPES: Final = ("git", "github", "github_pr", "ci", "manual", "api", "threads", "prometheus", "webhook")

SCORER_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class RulePoints:
    """`points` of at most `weight`, for `input`; an input of None was not told, and earns nothing."""

    name: str
    input: str | float | None
    weight: float
    points: float


@dataclass(frozen=True, slots=True)
class Skill:
    name: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Score:
    """Each score is the sum of its rules' points, 0 to 100."""

    category: str
    category_evidence: str
    impact_score: float
    complexity_score: float
    impact_rules: tuple[RulePoints, ...]
    complexity_rules: tuple[RulePoints, ...]
    business_value: BusinessValue | None
    time_saved_hours: float | None
    performance_improvement_pct: float | None
    skills: tuple[Skill, ...]


def score(change: Change) -> Score:
    raise NotImplementedError
