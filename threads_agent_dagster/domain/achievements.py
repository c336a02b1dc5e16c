"""What a change amounts to: category, impact, complexity, skills and claimed value, each with its evidence.

Both scores are sums of named rules whose weights add up to 100. A rule earns `weight * input / (input + half)`: nothing
for nothing, half its weight at `half`, never all of it, and never less for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.business_value import BusinessValue, read_business_value
from threads_agent_dagster.domain.categories import CATEGORIES, Category, categorize, is_breaking
from threads_agent_dagster.domain.changes import Change
from threads_agent_dagster.domain.footprint import Footprint, footprint
from threads_agent_dagster.domain.skills import Skill, skills

__all__ = ["CATEGORIES", "SCORER_VERSION", "SOURCE_TYPES", "RulePoints", "Score", "score"]

SOURCE_TYPES: Final = ("git", "github", "github_pr", "ci", "manual", "api", "threads", "prometheus", "webhook")

SCORER_VERSION: Final = "1"

# The share of the rule "kind of change" that a category earns: a convention, argued in docs/achievements.md.
KIND: Final[Mapping[str, float]] = {
    "security": 1.0,
    "milestone": 1.0,
    "feature": 0.9,
    "performance": 0.9,
    "business": 0.8,
    "architecture": 0.7,
    "bugfix": 0.6,
    "optimization": 0.5,
    "infrastructure": 0.5,
    "testing": 0.4,
    "content": 0.4,
    "documentation": 0.3,
}
KIND_NOT_TOLD: Final = 0.4


@dataclass(frozen=True, slots=True)
class RulePoints:
    """`points` of at most `weight`, for `input`; an input of None was not told, and earns nothing."""

    name: str
    input: str | float | None
    weight: float
    points: float


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a rule may look at."""

    change: Change
    footprint: Footprint
    category: Category
    value: BusinessValue | None


@dataclass(frozen=True, slots=True)
class Rule:
    """`half` is the input that earns half the weight; without it the input is itself the share, 0 to 1."""

    name: str
    weight: float
    half: float | None
    read: Callable[[Evidence], float | None]

    def points(self, evidence: Evidence) -> RulePoints:
        value = self.read(evidence)
        return RulePoints(self.name, value, self.weight, round(self.weight * self._share(value), 2))

    def _share(self, value: float | None) -> float:
        if value is None or value <= 0:
            return 0.0
        return min(value, 1.0) if self.half is None else value / (value + self.half)


def _beyond_the_first(count: int | None) -> float | None:
    return None if count is None else float(max(count - 1, 0))


IMPACT_RULES: Final = (
    Rule("kind of change", 20, None, lambda e: KIND[e.category.name] if e.category.told else KIND_NOT_TOLD),
    Rule("size: hand-written lines", 24, 300, lambda e: e.footprint.lines),
    Rule("reach: areas of the project", 18, 2, lambda e: e.footprint.areas),
    Rule("tests come along: lines added", 12, 60, lambda e: e.footprint.test_lines),
    Rule("claimed outcome: confidence of the best claim", 10, None, lambda e: e.value.confidence if e.value else 0.0),
    Rule("reviewed by others: people", 5, 1, lambda e: e.change.reviewers),
    Rule("documentation comes along: lines added", 4, 40, lambda e: e.footprint.docs_lines),
    Rule("breaks a contract on purpose", 4, None, lambda e: float(is_breaking(e.change))),
    Rule("discussed: comments", 3, 5, lambda e: e.change.comments),
)

COMPLEXITY_RULES: Final = (
    Rule("size: hand-written lines", 28, 400, lambda e: e.footprint.lines),
    Rule("files", 18, 8, lambda e: e.footprint.files),
    Rule("areas of the project", 14, 4, lambda e: e.footprint.areas),
    Rule("reworked code: lines removed", 12, 80, lambda e: e.footprint.removed_code),
    Rule("languages beyond the first", 10, 2, lambda e: _beyond_the_first(e.footprint.languages)),
    Rule("kinds of files beyond the first", 8, 2, lambda e: _beyond_the_first(len(e.footprint.roles) or None)),
    Rule("commits beyond the first", 5, 4, lambda e: _beyond_the_first(e.change.commits)),
    Rule("discussed: comments", 5, 8, lambda e: e.change.comments),
)


def score(change: Change) -> Score:
    touched = footprint(change)
    value = read_business_value(f"{change.title}\n\n{change.body}")
    evidence = Evidence(change, touched, categorize(change, touched), value)
    impact = tuple(rule.points(evidence) for rule in IMPACT_RULES)
    complexity = tuple(rule.points(evidence) for rule in COMPLEXITY_RULES)
    return Score(
        category=evidence.category.name,
        category_evidence=evidence.category.evidence,
        impact_score=total(impact),
        complexity_score=total(complexity),
        impact_rules=impact,
        complexity_rules=complexity,
        business_value=value,
        time_saved_hours=value.hours_per_year() if value else None,
        performance_improvement_pct=value.performance_improvement_pct if value else None,
        skills=skills(change.files),
    )


def total(rules: tuple[RulePoints, ...]) -> float:
    return round(sum(rule.points for rule in rules), 2)
