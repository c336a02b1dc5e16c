from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threads_agent_dagster.domain.achievements import (
    CATEGORIES,
    COMPLEXITY_RULES,
    IMPACT_RULES,
    KIND,
    SCORER_VERSION,
    SOURCE_TYPES,
    Score,
    score,
)
from threads_agent_dagster.domain.business_value import Assumptions
from threads_agent_dagster.domain.categories import EVENTS, LABELS, ONLY_ROLES, TYPES, WORDS, is_breaking
from threads_agent_dagster.domain.changes import Change, FileChange
from threads_agent_dagster.domain.footprint import LINES_PER_FILE, ROLE_WEIGHT
from threads_agent_dagster.domain.languages import Role, area, language, role

DONE = datetime(2026, 2, 20, 10, tzinfo=UTC)


def change(title: str = "Rework the engine", *, files: Sequence[FileChange] = (), **told: Any) -> Change:
    values: dict[str, Any] = {
        "source_type": "git",
        "source_key": "git:acme/rocket:1",
        "source_id": "1",
        "repository": "acme/rocket",
        "title": title,
        "body": "",
        "completed_at": DONE,
        "files": tuple(files),
    }
    return Change(**values | told)


ENGINE = FileChange("src/engine.py", 120, 40)
TESTS = FileChange("tests/test_engine.py", 60, 0)
DOCS = FileChange("docs/engine.md", 20, 0)
LOCK = FileChange("package-lock.json", 40_000, 38_000)


# --- one vocabulary ----------------------------------------------------------------------------------------------


def test_the_vocabulary_is_the_designs() -> None:
    """The predecessor's failure obs-12: API, code and database each had their own."""
    assert CATEGORIES == (
        "feature", "optimization", "bugfix", "infrastructure", "documentation", "testing", "security", "performance",
        "architecture", "content", "business", "milestone",
    )  # fmt: skip
    assert SOURCE_TYPES == (
        "git", "github", "github_pr", "ci", "manual", "api", "threads", "prometheus", "webhook",
    )  # fmt: skip


def test_every_table_speaks_it() -> None:
    assert set(KIND) == set(CATEGORIES)
    named = {*LABELS.values(), *TYPES.values(), *EVENTS.values(), *ONLY_ROLES.values(), *(name for name, _ in WORDS)}
    assert named <= set(CATEGORIES)


# --- scores are sums that are explained --------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [IMPACT_RULES, COMPLEXITY_RULES])
def test_the_weights_add_up_to_100(rules: Sequence[Any]) -> None:
    assert sum(rule.weight for rule in rules) == 100
    assert len({rule.name for rule in rules}) == len(rules)


PATHS = st.sampled_from(
    ["src/a.py", "src/b.ts", "lib/c/d.go", "tests/test_a.py", "docs/x.md", "helm/values.yaml", "poetry.lock", "a.csv",
     "Dockerfile"]
)  # fmt: skip
COUNTS = st.none() | st.integers(0, 10**7)
FILES = st.lists(st.builds(FileChange, PATHS, COUNTS, COUNTS, st.none() | PATHS), max_size=8)
CHANGES = st.builds(
    change,
    st.sampled_from(["Add x", "fix: y", "feat!: z", "docs: w", "Anything at all", "security docs typo", ""]),
    files=FILES,
    body=st.sampled_from(["", "Saves $50k annually", "Could save 2 hours daily", "BREAKING CHANGE: all"]),
    labels=st.lists(st.sampled_from(["bug", "kind/feature", "breaking"]), max_size=2).map(tuple),
    additions=COUNTS,
    deletions=COUNTS,
    changed_files=COUNTS,
    commits=COUNTS,
    reviewers=COUNTS,
    comments=COUNTS,
)


@given(CHANGES)
def test_scores_are_sums_of_their_rules_within_bounds(of: Change) -> None:
    result = score(of)
    for total, rules in (
        (result.impact_score, result.impact_rules),
        (result.complexity_score, result.complexity_rules),
    ):
        assert total == round(sum(rule.points for rule in rules), 2)
        assert 0 <= total <= 100
        assert all(0 <= rule.points <= rule.weight for rule in rules)
    assert result.category in CATEGORIES


@given(CHANGES)
def test_the_same_change_has_the_same_score(of: Change) -> None:
    assert score(of) == score(replace(of))


def test_what_is_not_told_is_none_and_earns_nothing() -> None:
    told = {rule.name: rule for rule in score(change(files=[ENGINE])).impact_rules}
    assert told["reviewed by others: people"].input is None
    assert told["reviewed by others: people"].points == 0
    asked = {rule.name: rule for rule in score(change(files=[ENGINE], reviewers=0)).impact_rules}
    assert asked["reviewed by others: people"].input == 0


def test_scores_stay_as_they_were_within_a_version() -> None:
    """When this fails on purpose, raise SCORER_VERSION: stored scores are then computed anew."""
    whole = change("feat: add orbit planner", files=[ENGINE, TESTS, DOCS], reviewers=2, comments=6, commits=3)
    result = score(whole)
    assert (SCORER_VERSION, result.impact_score, result.complexity_score) == ("1", 50.7, 32.05)


# --- more is never less ------------------------------------------------------------------------------------------


@given(CHANGES, st.sampled_from(["reviewers", "comments", "commits"]), st.integers(0, 1000), st.integers(0, 1000))
def test_more_review_discussion_or_commits_never_lowers_a_score(of: Change, name: str, one: int, other: int) -> None:
    fewer = score(replace(of, **{name: min(one, other)}))
    more = score(replace(of, **{name: max(one, other)}))
    assert more.impact_score >= fewer.impact_score
    assert more.complexity_score >= fewer.complexity_score


@given(FILES, st.sampled_from(["src/new.py", "tests/test_new.py", "docs/new.md"]), st.integers(0, 5000))
def test_another_file_never_lowers_a_typed_change(files: list[FileChange], path: str, lines: int) -> None:
    fewer = score(change("feat: x", files=[ENGINE, *files]))
    more = score(change("feat: x", files=[ENGINE, *files, FileChange(path, lines, 0)]))
    assert more.impact_score >= fewer.impact_score
    assert more.complexity_score >= fewer.complexity_score


# --- noise does not count ----------------------------------------------------------------------------------------

NOISE = [
    LOCK,
    FileChange("vendor/github.com/x/y.go", 90_000, 0),
    FileChange("web/node_modules/left-pad/index.js", 11, 0),
    FileChange("api/v1/service_pb2.py", 4000, 10),
    FileChange("static/app.min.js", 1, 1),
    FileChange("data/prices.csv", 1_000_000, 0),
    FileChange("logo.png"),
    FileChange("core/engine2.py", 0, 0, renamed_from="src/engine2.py"),
]


@pytest.mark.parametrize("noise", NOISE, ids=lambda file: file.path)
def test_noise_changes_no_score(noise: FileChange) -> None:
    plain, noisy = score(change(files=[ENGINE, TESTS])), score(change(files=[ENGINE, TESTS, noise]))
    assert (noisy.impact_rules, noisy.complexity_rules) == (plain.impact_rules, plain.complexity_rules)
    assert noisy.skills == plain.skills


def test_a_change_of_noise_alone_is_small() -> None:
    result = score(change("Update", files=NOISE))
    assert result.impact_score < 10
    assert result.complexity_score == 0


def test_one_giant_file_counts_as_its_first_thousand_lines() -> None:
    giant, large = FileChange("src/a.py", 10**6, 0), FileChange("src/a.py", LINES_PER_FILE, 0)
    assert score(change(files=[giant])).impact_rules == score(change(files=[large])).impact_rules


def test_the_length_of_a_title_does_not_matter() -> None:
    long = score(change("Rework the engine" + " in every respect that one can think of" * 5, files=[ENGINE]))
    assert long.impact_rules == score(change(files=[ENGINE])).impact_rules


def history(seed: int, count: int = 300) -> list[Change]:
    """What a history is made of: many small changes, some of middling size, a few that touch everything."""
    rng = random.Random(seed)
    titles = ("feat: add", "fix: repair", "docs: tell", "refactor: split", "chore: bump", "test: cover", "Tweak")
    changes = []
    for number in range(count):
        files = [
            FileChange(f"{rng.choice(['src', 'lib', 'api', 'web', 'tests', 'docs'])}/{rng.randrange(9)}/m{index}.py",
                       int(rng.lognormvariate(2.5, 1.4)), int(rng.lognormvariate(1.5, 1.4)))
            for index in range(1 + int(rng.lognormvariate(0.6, 1.0)))
        ]  # fmt: skip
        changes.append(change(f"{rng.choice(titles)} {number}", files=files, commits=1))
    return changes


def test_scores_spread_over_a_history() -> None:
    changes = [score(one) for one in history(seed=1)]
    for scores in ([one.impact_score for one in changes], [one.complexity_score for one in changes]):
        deciles = quantiles(scores, n=10)
        assert deciles[8] - deciles[0] > 20
        assert len({round(one) for one in scores}) > 30


def order(scores: Sequence[Score]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: scores[index].impact_score)


def test_the_order_of_a_history_survives_lock_files_and_moves() -> None:
    changes = history(seed=2)
    moved = FileChange("elsewhere/moved.py", 0, 0, renamed_from="src/moved.py")
    noisy = [replace(one, files=(*one.files, LOCK, moved)) for one in changes]
    assert order([score(one) for one in noisy]) == order([score(one) for one in changes])


def test_renaming_every_folder_keeps_every_score() -> None:
    for one in history(seed=3):
        renamed = [
            replace(file, path=file.path.replace("src/", "source/").replace("lib/", "library/")) for file in one.files
        ]
        assert score(replace(one, files=tuple(renamed))).impact_score == score(one).impact_score


# --- category ----------------------------------------------------------------------------------------------------

CATEGORIZED: list[tuple[str, dict[str, Any], str]] = [
    ("Anything", {"labels": ("bug",)}, "bugfix"),
    ("Anything", {"labels": ("kind/bug",)}, "bugfix"),
    ("Anything", {"labels": ("type_bug",)}, "bugfix"),
    ("feat: x", {"labels": ("needs docs", "no-tests", "release-note-none")}, "feature"),
    ("Anything", {"labels": ("good first issue", "type: security")}, "security"),
    ("feat: fix docs", {"labels": ("documentation",)}, "documentation"),
    ("feat(api)!: add x", {}, "feature"),
    ("fix: x", {}, "bugfix"),
    ("Fix: x", {}, "bugfix"),
    ("fix(security): x", {}, "security"),
    ("perf: x", {}, "performance"),
    ("docs: x", {"files": [ENGINE]}, "documentation"),
    ("test: x", {}, "testing"),
    ("refactor: x", {}, "architecture"),
    ("chore(deps): bump y", {}, "infrastructure"),
    ("v2", {"metadata": {"event": "release"}}, "milestone"),
    ("Deploy prod", {"metadata": {"event": "workflow_run"}}, "infrastructure"),
    ("Say more", {"files": [DOCS, FileChange("README.md", 1, 1)]}, "documentation"),
    ("Fix crash", {"files": [TESTS]}, "testing"),
    ("Grow", {"files": [FileChange(".github/workflows/ci.yml", 9, 0)]}, "infrastructure"),
    ("security docs typo", {}, "documentation"),
    ("Fix crash when parsing security headers", {"files": [ENGINE]}, "bugfix"),
    ("Fix docs of engine", {"files": [ENGINE, DOCS]}, "bugfix"),
    ("Speed up queries", {"files": [ENGINE]}, "performance"),
    ("Weave the engine", {"files": [FileChange("src/new.py", 200, 0)]}, "feature"),
]


@pytest.mark.parametrize(("title", "told", "category"), CATEGORIZED)
def test_the_category_is_told_by(title: str, told: dict[str, Any], category: str) -> None:
    result = score(change(title, **told))
    assert (result.category, result.category_evidence != "nothing tells otherwise") == (category, True)


@pytest.mark.parametrize(
    "title",
    ["Use the latest contest", "Prefix names", "Store variant_performance", "Debugger", "Decide capital", "misc: x"],
)
def test_words_count_only_whole(title: str) -> None:
    assert score(change(title, labels=("prefix", "debugging"))).category_evidence == "nothing tells otherwise"


def test_what_nothing_tells_earns_less_than_a_feature() -> None:
    assert score(change("Weave")).impact_score < score(change("feat: weave")).impact_score


@pytest.mark.parametrize(
    ("told", "breaking"),
    [
        ({"title": "feat!: x"}, True),
        ({"title": "feat(api)!: x"}, True),
        ({"body": "Why.\n\nBREAKING CHANGE: all of it"}, True),
        ({"labels": ("breaking-change",)}, True),
        ({"labels": ("non-breaking",)}, False),
        ({"body": "No BREAKING CHANGE: here"}, False),
        ({"title": "Breaking news"}, False),
    ],
)
def test_a_broken_contract_is_announced(told: dict[str, Any], breaking: bool) -> None:
    assert is_breaking(change(**told)) is breaking


# --- paths, skills, claims ---------------------------------------------------------------------------------------

ROLES: list[tuple[str, Role]] = [
    ("src/app.py", "code"),
    ("src/latest.py", "code"),
    ("contest/main.go", "code"),
    ("src/security.py", "code"),
    ("build/tool.py", "code"),
    ("SECURITY.md", "docs"),
    ("tests/helpers.py", "test"),
    ("src/app_test.go", "test"),
    ("web/button.spec.ts", "test"),
    ("src/FooTest.java", "test"),
    ("README.md", "docs"),
    ("docs/conf.py", "docs"),
    ("requirements.txt", "configuration"),
    ("Dockerfile", "infrastructure"),
    ("helm/values.yaml", "infrastructure"),
    (".github/workflows/ci.yml", "infrastructure"),
    ("main.tf", "infrastructure"),
    ("pyproject.toml", "configuration"),
    ("poetry.lock", "generated"),
    ("web/package-lock.json", "generated"),
    ("pnpm-lock.yaml", "generated"),
    ("go.sum", "generated"),
    ("requirements-dev.lock", "generated"),
    ("vendor/x/y.go", "generated"),
    ("api_pb2.py", "generated"),
    ("tests/data/rows.csv", "data"),
    ("LICENSE", "docs"),
    ("weird", "other"),
]


@pytest.mark.parametrize(("path", "expected"), ROLES)
def test_a_path_tells_the_role_of_a_file(path: str, expected: Role) -> None:
    assert role(path) == expected


def test_every_role_has_a_weight() -> None:
    assert {expected for _, expected in ROLES} == set(ROLE_WEIGHT)


def test_a_path_tells_language_and_area() -> None:
    assert (language("a/b.PY"), language("Makefile"), language("a.unknown")) == ("Python", None, None)
    assert (area("a/b/c/d.py"), area("a/d.py"), area("d.py")) == ("a/b", "a", ".")


def test_skills_come_with_the_paths_that_show_them() -> None:
    files = [ENGINE, TESTS, DOCS, FileChange("Dockerfile", 3, 0), FileChange("pyproject.toml", 1, 1), LOCK]
    shown = {skill.name: skill.evidence for skill in score(change(files=files)).skills}
    assert shown == {
        "Python": "src/engine.py and 1 more",
        "Docker": "Dockerfile",
        "Python packaging": "pyproject.toml",
        "Technical writing": "docs/engine.md",
    }


def test_a_claim_brings_value_hours_and_speed_and_earns_its_confidence() -> None:
    body = "Saves 200 developer hours annually. Queries are 40% faster."
    plain, claimed = score(change(files=[ENGINE])), score(change(files=[ENGINE], body=body))
    assert (plain.business_value, plain.time_saved_hours, plain.performance_improvement_pct) == (None, None, None)
    assert (claimed.time_saved_hours, claimed.performance_improvement_pct) == (200, 40)
    assert claimed.business_value is not None
    assert len(claimed.business_value.claims) == 2
    assert claimed.impact_score == pytest.approx(plain.impact_score + 9)


def test_a_wrapped_title_and_body_are_not_one_sentence() -> None:
    result = score(change("This saves", body="$50k annually is what the old one cost"))
    assert result.business_value is None


def test_the_documentation_states_every_rule_and_assumption() -> None:
    page = (Path(__file__).parents[2] / "docs" / "achievements.md").read_text()
    for rule in (*IMPACT_RULES, *COMPLEXITY_RULES):
        assert f"| {rule.name} | {rule.weight} | {'' if rule.half is None else rule.half} |" in page
    for name, share in KIND.items():
        assert re.search(rf"\b{name} {share:g}\b", page)
    for name, default in asdict(Assumptions()).items():
        shown = default if isinstance(default, str) else f"{default:g}"
        assert re.search(rf"^\| `{name}`[^|]*\| {shown} \|$", page, re.MULTILINE)
