"""Which category a change belongs to, and what says so: a label, its Conventional Commit type, the event, paths, words.

They are asked in that order. Words are whole words: "latest" holds no test, "prefix" no fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.changes import Change
from threads_agent_dagster.domain.footprint import Footprint
from threads_agent_dagster.domain.languages import Role

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

NEW_CODE_LINES: Final = 20
NEW_CODE_RATIO: Final = 3

OPENING_WORDS: Final = 4  # further on a title tells of details: "Read claims of time and performance"

CONVENTIONAL: Final = re.compile(r"^(?P<type>[A-Za-z]+)(?:\((?P<scope>[^)]*)\))?(?P<breaking>!)?:\s")
WORD: Final = re.compile(r"[a-z0-9_]+")  # variant_performance is one word, and a name

TYPES: Final[Mapping[str, str]] = {
    "feat": "feature",
    "feature": "feature",
    "fix": "bugfix",
    "bugfix": "bugfix",
    "hotfix": "bugfix",
    "perf": "performance",
    "docs": "documentation",
    "doc": "documentation",
    "test": "testing",
    "tests": "testing",
    "refactor": "architecture",
    "style": "optimization",
    "chore": "infrastructure",
    "build": "infrastructure",
    "ci": "infrastructure",
    "deps": "infrastructure",
    "security": "security",
    "sec": "security",
    "release": "milestone",
    "content": "content",
}

LABELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("bug", "bugfix", "fix", "hotfix", "regression", "crash", "defect"), "bugfix"),
    **dict.fromkeys(("feature", "enhancement"), "feature"),
    **dict.fromkeys(("docs", "documentation"), "documentation"),
    **dict.fromkeys(("test", "tests", "testing"), "testing"),
    **dict.fromkeys(("security", "vulnerability", "cve"), "security"),
    **dict.fromkeys(("performance", "perf"), "performance"),
    **dict.fromkeys(("architecture", "refactor", "refactoring"), "architecture"),
    **dict.fromkeys(("optimization", "optimisation", "cleanup"), "optimization"),
    **dict.fromkeys(("infrastructure", "infra", "ci", "build", "deployment", "dependencies"), "infrastructure"),
    "milestone": "milestone",
    "content": "content",
    "business": "business",
}
ABSENCE: Final = frozenset({"no", "non", "not", "needs", "missing", "without"})  # "needs docs" is no documentation

EVENTS: Final[Mapping[str, str]] = {
    "release": "milestone",
    "workflow_run": "infrastructure",
    "check_run": "infrastructure",
    "deployment_status": "infrastructure",
}

# The first of these roles that is all a change touches, beside configuration.
ONLY_ROLES: Final[Mapping[Role, str]] = {
    "docs": "documentation",
    "test": "testing",
    "infrastructure": "infrastructure",
}


def words(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(text.lower()))


# Tried from the top; what a change is about comes before what its verb says, so "Fix the docs" is documentation.
WORDS: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("documentation", words("docs doc documentation document readme typo typos changelog docstring guide")),
    ("testing", words("test tests testing coverage flaky e2e")),
    ("security", words("security secure vulnerability vulnerabilities cve xss csrf exploit injection")),
    ("bugfix", words("fix fixes fixed bug bugs bugfix hotfix crash crashes regression defect repair")),
    ("performance", words("performance perf faster speed latency throughput cache caching slow")),
    ("architecture", words("architecture refactor refactoring restructure redesign split extract decouple")),
    ("optimization", words("optimization optimize optimise simplify cleanup tidy dedupe streamline shrink")),
    (
        "infrastructure",
        words("infrastructure infra ci cd deploy deployment docker helm kubernetes k8s pipeline terraform"),
    ),
    ("infrastructure", words("build bump dependency dependencies")),
    ("milestone", words("milestone release launch")),
    ("content", words("content blog article copywriting")),
    ("business", words("business revenue pricing sales customer")),
    ("feature", words("feature enhancement add adds added introduce implement support enable allow new create")),
)


@dataclass(frozen=True, slots=True)
class Category:
    """`told` is False where nothing speaks and the name is only the most likely one."""

    name: str
    evidence: str
    told: bool = True


def categorize(change: Change, touched: Footprint) -> Category:
    """The first that speaks; a change of which nothing is told counts as a feature."""
    return next(_told(change, touched), Category("feature", "nothing tells otherwise", told=False))


def _told(change: Change, touched: Footprint) -> Iterator[Category]:
    for label in change.labels:
        yield from (Category(LABELS[word], f"label {label!r}") for word in _label_words(label) if word in LABELS)
    conventional = CONVENTIONAL.match(change.title)
    if conventional:
        yield from _typed(conventional)
    event = str(change.metadata.get("event"))
    if event in EVENTS:
        yield Category(EVENTS[event], f"the event {event}")
    for role, name in ONLY_ROLES.items():
        if role in touched.roles and touched.roles <= {role, "configuration", "other"}:
            yield Category(name, f"touches only {role} files")
    for name in _worded(_opening(change.title), touched.roles):
        yield Category(name, "the first words of the title")
    if (touched.added_code or 0) >= NEW_CODE_LINES + NEW_CODE_RATIO * (touched.removed_code or 0):
        yield Category("feature", "adds far more code than it removes")


def _typed(conventional: re.Match[str]) -> Iterator[Category]:
    kind, scope = conventional["type"].lower(), (conventional["scope"] or "").lower()
    if "security" in words(scope):
        yield Category("security", f"Conventional Commit scope {scope!r}")
    if kind in TYPES:
        yield Category(TYPES[kind], f"Conventional Commit type {kind!r}")


def _label_words(label: str) -> list[str]:
    found = WORD.findall(label.lower().replace("_", " "))
    return [] if ABSENCE.intersection(found) else found


def _opening(title: str) -> str:
    return " ".join(WORD.findall(title.lower())[:OPENING_WORDS])


def _worded(text: str, roles: frozenset[Role]) -> Iterator[str]:
    """A change that touches code is not documentation or testing for a word of its title."""
    found = words(text)
    for name, vocabulary in WORDS:
        if found & vocabulary and not ("code" in roles and name in ("documentation", "testing")):
            yield name


def is_breaking(change: Change) -> bool:
    conventional = CONVENTIONAL.match(change.title)
    return (
        bool(conventional and conventional["breaking"])
        or re.search(r"^BREAKING[ -]CHANGE:", change.body, re.MULTILINE) is not None
        or any("breaking" in _label_words(label) for label in change.labels)
    )
