"""Demo data from what is at hand: the checkout's own git history, and posts about its best achievements."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from threads_agent_dagster.db import imports as db
from threads_agent_dagster.db import pending, tasks
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import NotFound
from threads_agent_dagster.work import imports

POSTS: Final = 12
PATIENCE_SECONDS: Final = 120
PAUSE_SECONDS: Final = 2.0  # before what PostgreSQL broke off is tried again
Say = Callable[[str], None]


def load(database_url: str, say: Say) -> None:
    """Imports the history and asks for posts; what is there already is not done again.

    A PostgreSQL that is away is waited for, and if it stays away that is said: the platform goes on without demo data.
    """
    engine = make_engine(database_url)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while not _loaded(engine, say):
            if time.monotonic() > until:
                say("PostgreSQL stayed away, so the demo data is incomplete; `threads-agent up --demo` completes it")
                return
            time.sleep(PAUSE_SECONDS)
    finally:
        engine.dispose()


def _loaded(engine: Engine, say: Say) -> bool:
    try:
        _load(engine, say)
    except (OperationalError, InterfaceError) as error:
        say(f"PostgreSQL broke off the demo data ({type(error.orig).__name__}); trying again")
        return False
    return True


def remove(engine: Engine) -> int:
    """Undoes every demo import; returns how many there were."""
    with engine.connect() as connection:
        demos = [one.id for one in db.read_all(connection) if one.demo]
    for import_id in reversed(demos):
        imports.undo(engine, import_id)
    return len(demos)


def _load(engine: Engine, say: Say) -> None:
    with engine.connect() as connection:
        if any(one.kind == "demo" for one in db.read_all(connection)):
            say("the demo data is there already")
            return
    import_id = _import_history(engine, say)
    if import_id is None:
        return
    if not _await_scores(engine, say):
        say("scoring takes longer than two minutes; it goes on in the background, without demo posts")
        return
    count = _ask_for_posts(engine, import_id)
    say(f"asked for {count} posts about the best achievements")


def _import_history(engine: Engine, say: Say) -> int | None:
    """The id of the import of this checkout's history, or of the working directory's."""
    for path in (Path(__file__).parents[2], Path.cwd()):
        try:
            seen = imports.import_git(engine, path, datetime.now(UTC), demo=True)
        except NotFound:
            continue
        if seen.changes:
            say(f"imported {seen.added} changes of {seen.repository} ({seen.commits} commits; authors: {seen.authors})")
            return seen.import_id or _earlier_import(engine, seen.repository)
    say("no git history here, so no demo achievements; try `threads-agent import git PATH`")
    return None


def _earlier_import(engine: Engine, repository: str) -> int | None:
    with engine.connect() as connection:
        found = [one.id for one in db.read_all(connection) if one.kind == "git" and one.source == repository]
    return found[-1] if found else None


def _await_scores(engine: Engine, say: Say) -> bool:
    """Whether the achievements were scored in time; what waits is looked at once a second."""
    until, last = time.monotonic() + PATIENCE_SECONDS, -1
    while time.monotonic() < until:
        with engine.connect() as connection:
            left = connection.execute(_LEFT).scalar_one()
        if left == 0:
            return True
        if left != last:
            say(f"scoring achievements, {left} to go")
            last = left
        time.sleep(1)
    return False


_LEFT = text("SELECT count(*) FROM pending WHERE asset = 'achievements' AND dead_at IS NULL")


def _ask_for_posts(engine: Engine, import_id: int) -> int:
    with engine.begin() as connection:
        demo_id = db.begin(connection, "demo", "posts about the best achievements", demo=True)
        best = db.best_achievements(connection, import_id, POSTS)
        for achievement in best:
            payload = {"topic": achievement.title, "persona_id": "default", "original_input": _facts(achievement)}
            task_id, created_at = tasks.insert(
                connection, "content.generation", payload, pending.Priority.LOW, import_id=demo_id
            )
            pending.mark(connection, "posts", [(f"task:{task_id}", created_at.astimezone(UTC).date())])
        db.finish(connection, demo_id, len(best))
    return len(best)


def _facts(achievement: Any) -> str:
    """Sentences about the change that its row can prove."""
    counts: Mapping[str, Any] = achievement.metadata_json
    lines = [achievement.description.strip()] if achievement.description else []
    if counts.get("files") and counts.get("additions") is not None and counts.get("deletions") is not None:
        lines.append(
            f"{counts['files']} files changed, {counts['additions']} lines added, {counts['deletions']} removed."
        )
    lines.append(f"Counted as {achievement.category}, impact {achievement.impact_score:.0f} of 100.")
    return "\n\n".join(lines)
