"""Imports arrive whole or not at all, once, and can be taken away again."""

from __future__ import annotations

import csv
import os
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.git_histories import squash_history, workflow_history
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pending import Priority
from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work import achievements, emotions, engagement, experiments, imports
from threads_agent_dagster.work.drain import Origin, drain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = "experiment_id,headline,impressions,clicks,lede,test_week\n"
PEOPLE = ("Ada <ada@example.org>", "Grace <grace@example.org>")
PROJECT = Path(__file__).parents[2]
TABLES = (
    "achievements",
    "emotion_trajectories",
    "engagement_snapshots",
    "experiments",
    "git_commits",
    "imports",
    "observations",
    "post_engagement",
    "posts",
    "variant_performance",
    "variants",
)


def _git(path: Path, *arguments: str, author: str = PEOPLE[0]) -> str:
    name, email = author.rstrip(">").split(" <")
    identity = {"NAME": name, "EMAIL": email, "DATE": "2025-03-01T12:00:00+00:00"}
    environment = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in identity.items()}
    done = subprocess.run(
        ["git", "-C", str(path), *arguments], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Three commits on the main line, one of them a merge of two commits of somebody else."""
    path = tmp_path / "checkout"
    path.mkdir()
    _git(path, "init", "-q", "-b", "main")
    for number, title in enumerate(("feat: begin", "fix: mend")):
        (path / f"{number}.py").write_text("print()\n" * (number + 1))
        _git(path, "add", ".")
        _git(path, "commit", "-qm", title)
    _git(path, "switch", "-qc", "side")
    for number in range(2):
        (path / f"side{number}.py").write_text("x = 1\n")
        _git(path, "add", ".")
        _git(path, "commit", "-qm", f"step {number}", author=PEOPLE[1])
    _git(path, "switch", "-q", "main")
    _git(path, "merge", "-q", "--no-ff", "-m", "Merge the side", "side")
    return path


@pytest.fixture
def experiments_csv(tmp_path: Path) -> Path:
    path = tmp_path / "experiments.csv"
    path.write_text(
        HEADER + 'e1,"One, with a comma",100,7,A lede.,201308\ne1,Two,90,0,,201308\ne2,Two,10,1,"Two\nlines",202052\n'
    )
    return path


def _counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in TABLES}


def _drain_all(engine: Engine) -> None:
    jobs: list[Any] = [achievements.job(), emotions.job(scorer_name="vader"), engagement.job(), experiments.job()]
    for job in jobs:
        done = drain(engine, job, None, Origin("run", job.code_version))
        assert done.errors == []


def test_a_history_is_imported_once_and_counted_as_git_counts(engine: Engine, checkout: Path) -> None:
    seen = imports.import_git(engine, checkout, NOW)
    assert seen.commits == int(_git(checkout, "rev-list", "--count", "HEAD"))
    assert seen.merges == int(_git(checkout, "rev-list", "--count", "--merges", "HEAD"))
    assert seen.authors == len(_git(checkout, "shortlog", "-se", "HEAD").splitlines())
    assert seen.changes == int(_git(checkout, "rev-list", "--count", "--first-parent", "HEAD"))
    assert seen.added == seen.changes - sum(seen.ignored.values())
    again = imports.import_git(engine, checkout, NOW)
    assert (again.added, again.import_id) == (0, None)
    _drain_all(engine)
    before = _counts(engine)
    assert before["achievements"] == seen.added > 0
    imports.import_git(engine, checkout, NOW)
    _drain_all(engine)
    assert _counts(engine) == before


@pytest.fixture(params=["own", "squash", "merge and rebase"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The project's own history and two that are generated."""
    if request.param == "own":
        assert (PROJECT / ".git").exists(), "the tests run in a checkout"
        return PROJECT
    generated = squash_history(200) if request.param == "squash" else workflow_history(90)
    return generated.write(tmp_path / "generated")


def test_a_history_gives_one_achievement_per_change_and_again_none(engine: Engine, history: Path) -> None:
    """Counted by git itself; a second import changes no row."""
    seen = imports.import_git(engine, history, NOW)
    first_parent = int(_git(history, "rev-list", "--count", "--first-parent", "HEAD"))
    assert (seen.commits, seen.changes) == (int(_git(history, "rev-list", "--count", "HEAD")), first_parent)
    assert seen.added == first_parent - seen.ignored.total()
    _drain_all(engine)
    with engine.connect() as connection:
        before = connection.execute(text("SELECT * FROM achievements ORDER BY id")).all()
    assert len(before) == seen.added
    assert {row.merge_sha for row in before} <= set(_git(history, "rev-list", "--first-parent", "HEAD").split())
    assert imports.import_git(engine, history, NOW).added == 0
    _drain_all(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM achievements ORDER BY id")).all() == before


def test_what_is_no_repository_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        imports.import_git(engine, tmp_path, NOW)
    assert _counts(engine)["imports"] == 0


def test_a_repository_without_commits_imports_nothing(engine: Engine, tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    seen = imports.import_git(engine, tmp_path, NOW)
    assert (seen.commits, seen.changes, seen.import_id) == (0, 0, None)


def test_undo_takes_exactly_that_away(engine: Engine, checkout: Path, experiments_csv: Path) -> None:
    empty = _counts(engine)
    history = imports.import_git(engine, checkout, NOW)
    _drain_all(engine)
    with_history = _counts(engine)
    headlines = imports.import_experiments(engine, experiments_csv)
    _drain_all(engine)
    assert headlines.import_id is not None
    assert history.import_id is not None
    imports.undo(engine, headlines.import_id)
    _drain_all(engine)
    assert _counts(engine) == with_history
    imports.undo(engine, history.import_id)
    _drain_all(engine)
    assert _counts(engine) == empty
    with pytest.raises(NotFound, match="import list"):
        imports.undo(engine, history.import_id)


def test_each_headline_is_a_variant_and_a_post_with_its_figures(engine: Engine, experiments_csv: Path) -> None:
    """`ts` is the Monday of the test week; weeks count as in the archive (strftime %W, with a week 00)."""
    added = imports.import_experiments(engine, experiments_csv)
    assert (added.experiments, added.variants) == (2, 3)
    _drain_all(engine)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT hook, body, posts.ts, posts.engagement_rate, impressions, successes, mean_performance "
                "FROM posts JOIN variant_performance USING (variant_id) WHERE persona_id = 'upworthy' ORDER BY posts.id"
            )
        ).all()
    assert [row.hook for row in rows] == ["One, with a comma", "Two", "Two"]
    assert [row.body for row in rows] == ["A lede.", "", "Two\nlines"]
    assert [row.ts for row in rows] == [datetime(2013, 2, 25, tzinfo=UTC)] * 2 + [datetime(2020, 12, 28, tzinfo=UTC)]
    assert [(row.impressions, row.successes) for row in rows] == [(100, 7), (90, 0), (10, 1)]
    assert [row.engagement_rate for row in rows] == [0.07, 0.0, 0.1]
    assert [row.mean_performance for row in rows] == [0.07, 0.0, 0.1]
    assert imports.import_experiments(engine, experiments_csv).import_id is None


def test_what_people_ask_for_goes_before_what_was_imported(
    engine: Engine, checkout: Path, experiments_csv: Path
) -> None:
    imports.import_git(engine, checkout, NOW)
    imports.import_experiments(engine, experiments_csv)
    with engine.begin() as connection:
        imported = dict(connection.execute(text("SELECT key, priority FROM pending")).all())
        insert = text(
            "INSERT INTO posts (persona_id, hook, body, ts) VALUES ('default', 'New', '', now()) RETURNING id"
        )
        key = f"post:{connection.execute(insert).scalar_one()}"
        claimed = pending.claim(connection, "emotion_trajectories", None, limit=1, lease_seconds=30, again=False)
    assert set(imported.values()) == {Priority.LOW}
    assert claimed is not None
    assert [row.key for row in claimed.rows] == [key]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("e3,Hook,ten,1,,201308", "line 3: impressions: 'ten'"),
        ("e3,Hook,10,11,,201308", "line 3: clicks: 11 is more than 10"),
        ("e3,,10,1,,201308", "line 3: headline: must be"),
        ("e3,Hook,10,1,,201399", "line 3: test_week: '201399'"),
        ("e3,Hook,10,1", "line 3: expected 6 values"),
        ("e3,Hook,10,1,,201308,more", "line 3: expected 6 values"),
    ],
)
def test_bad_lines_are_named_and_nothing_is_half_written(engine: Engine, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"{HEADER}e1,Fine,10,1,,201308\n{line}\ne2,Fine too,10,1,,201308\n")
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        imports.import_experiments(engine, path)
    assert set(_counts(engine).values()) == {0}


def test_a_header_without_a_column_says_which(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("experiment_id,headline\n")
    with pytest.raises(InvalidInput, match="impressions, clicks, lede, test_week"):
        imports.import_experiments(engine, path)


@pytest.mark.shared_data
def test_the_real_experiments(engine: Engine, shared_data: Path) -> None:
    path = shared_data / "upworthy_experiments.csv"
    added = imports.import_experiments(engine, path)
    assert (added.experiments, added.variants) == (2491, 6768)
    _drain_all(engine)
    with path.open(encoding="utf-8", newline="") as file:
        given = Counter((row["headline"], int(row["impressions"]), int(row["clicks"])) for row in csv.DictReader(file))
    with engine.connect() as connection:
        stored = connection.execute(
            text("SELECT posts.hook, impressions, successes FROM posts JOIN variant_performance USING (variant_id)")
        )
        assert Counter((row.hook.strip(), row.impressions, row.successes) for row in stored) == Counter(
            {(hook.strip(), shown, clicked): times for (hook, shown, clicked), times in given.items()}
        )
    assert imports.import_experiments(engine, path).import_id is None
