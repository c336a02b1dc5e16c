"""Imports: a git history as achievements to be, a CSV of headline experiments as variants, posts and observations.

Each import is one transaction under one id: all of it arrives or nothing, importing again adds nothing, and `undo`
takes exactly that away.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from threads_agent_dagster.clients import git
from threads_agent_dagster.db import imports as db
from threads_agent_dagster.db import pending
from threads_agent_dagster.domain.changes import Change, Ignored, change_to_document, utc_day
from threads_agent_dagster.domain.commits import change_from_commit
from threads_agent_dagster.domain.experiments import Plan
from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound
from threads_agent_dagster.work import identities

BATCH: Final = 500
PLAN: Final = Plan(metric="click_rate")
COLUMNS: Final = ("experiment_id", "headline", "impressions", "clicks", "lede", "test_week")
SHOWN_ERRORS: Final = 20
Progress = Callable[[int], None]


@dataclass
class GitImport:
    """What an import of a git history saw: `changes` are first-parent, the other counts are of the whole history."""

    repository: str
    import_id: int | None = None
    commits: int = 0
    merges: int = 0
    authors: int = 0
    changes: int = 0
    added: int = 0
    ignored: Counter[str] = field(default_factory=Counter)


def import_git(
    engine: Engine,
    path: Path,
    now: datetime,
    *,
    since: datetime | None = None,
    demo: bool = False,
    progress: Progress = lambda _: None,
) -> GitImport:
    """Stores the changes of the checkout at `path` and marks them to be scored.

    Raises: NotFound for a path that is no repository.
    """
    seen = GitImport(git.repository_name(path))
    history = git.count_history(path, since)
    seen.commits, seen.merges, seen.authors = history.commits, history.merges, history.authors
    with engine.begin() as connection:
        import_id = db.begin(connection, "git", seen.repository, demo=demo)
        for batch in _batches(_changes(path, since, seen), BATCH):
            rows = [_commit_row(change, import_id, now) for change in batch]
            new = db.add_commits(connection, rows)
            marked = [(f"commit:{id_}", day) for id_, day in new.items()]
            pending.mark(connection, "achievements", marked, pending.Priority.LOW)
            seen.added += len(new)
            progress(seen.changes)
        seen.import_id = db.finish(connection, import_id, seen.added)
        if not demo:
            identities.learn_emails(connection, git.own_emails(path))
    return seen


def _changes(path: Path, since: datetime | None, seen: GitImport) -> Iterator[Change]:
    for commit in git.read_commits(path, since):
        seen.changes += 1
        change = change_from_commit(commit, seen.repository)
        if isinstance(change, Ignored):
            seen.ignored[change.reason] += 1
        else:
            yield change


def _batches(changes: Iterator[Change], size: int) -> Iterator[list[Change]]:
    while batch := list(islice(changes, size)):
        yield batch


def _commit_row(change: Change, import_id: int, now: datetime) -> dict[str, Any]:
    return {
        "import_id": import_id,
        "repository": change.repository,
        "sha": change.merge_sha,
        "day": utc_day(change.completed_at, now),
        "change": change_to_document(change),
    }


@dataclass(frozen=True, slots=True)
class Headline:
    """One row of the CSV: a headline of an experiment with what readers did."""

    line: int
    experiment_id: str
    headline: str
    impressions: int
    clicks: int
    lede: str
    week: datetime


@dataclass(frozen=True, slots=True)
class ExperimentsImport:
    """What an import of experiments added; all zero when everything was there."""

    import_id: int | None
    experiments: int
    variants: int


def import_experiments(engine: Engine, path: Path, *, demo: bool = False) -> ExperimentsImport:
    """Stores each headline as a variant and as a post of persona `upworthy`, with its impressions and clicks.

    Raises: InvalidInput that names every bad line; then nothing is stored.
    """
    headlines = read_headlines(path)
    with engine.begin() as connection:
        import_id = db.begin(connection, "experiments", path.name, demo=demo)
        voice = "Curious headlines that were tested on real readers."
        db.ensure_persona(connection, "upworthy", "Upworthy Research Archive", voice)
        new_experiments, new_variants = 0, 0
        ordered = sorted(headlines, key=lambda one: (one.experiment_id, one.line))
        for chunk in _whole_experiments(ordered, BATCH):
            added = _store_experiments(connection, chunk, import_id)
            new_experiments, new_variants = new_experiments + added[0], new_variants + added[1]
        recorded = db.finish(connection, import_id, new_variants)
    return ExperimentsImport(recorded, new_experiments, new_variants)


def _whole_experiments(ordered: Sequence[Headline], size: int) -> Iterator[list[Headline]]:
    chunk: list[Headline] = []
    for _, group in groupby(ordered, key=lambda one: one.experiment_id):
        chunk += group
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _store_experiments(connection: Connection, headlines: Sequence[Headline], import_id: int) -> tuple[int, int]:
    first = {one.experiment_id: one for one in reversed(headlines)}
    new_experiments = db.add_experiments(
        connection, [_experiment_row(one, import_id) for one in sorted(first.values(), key=lambda one: one.line)]
    )
    by_variant = {variant_id(one, nth): one for one, nth in _numbered(headlines)}
    new = db.add_variants(connection, [_variant_row(id_, one, import_id) for id_, one in by_variant.items()])
    fresh = {id_: one for id_, one in by_variant.items() if id_ in new}
    if fresh:
        post_ids = db.add_posts(connection, [_post_row(id_, one, import_id) for id_, one in fresh.items()])
        db.add_measurements(
            connection,
            [_observation_row(id_, one) for id_, one in fresh.items()],
            [_snapshot_row(id_, post_ids[id_], one) for id_, one in fresh.items()],
        )
    return new_experiments, len(new)


def _numbered(headlines: Iterable[Headline]) -> Iterator[tuple[Headline, int]]:
    """Each headline with how often the same words stood before it in its experiment."""
    seen: Counter[tuple[str, str]] = Counter()
    for one in headlines:
        yield one, seen[one.experiment_id, one.headline]
        seen[one.experiment_id, one.headline] += 1


def variant_id(one: Headline, nth: int) -> str:
    """`<experiment>:<first 12 digits of the headline's SHA-256>`, and `-n` where the words are repeated."""
    digest = hashlib.sha256(one.headline.encode()).hexdigest()[:12]
    return f"{one.experiment_id}:{digest}" + (f"-{nth}" if nth else "")


def _experiment_row(one: Headline, import_id: int) -> dict[str, Any]:
    return {
        "id": one.experiment_id,
        "name": one.headline[:120],
        "status": "stopped",
        "plan": asdict(PLAN),
        "plan_hash": PLAN.sha256(),
        "started_at": one.week,
        "ended_at": one.week + timedelta(days=7),
        "import_id": import_id,
    }


def _variant_row(id_: str, one: Headline, import_id: int) -> dict[str, Any]:
    return {
        "variant_id": id_,
        "experiment_id": one.experiment_id,
        "dimensions": {"kind": "headline"},
        "hook": one.headline,
        "is_control": False,
        "import_id": import_id,
    }


def _post_row(id_: str, one: Headline, import_id: int) -> dict[str, Any]:
    return {
        "persona_id": "upworthy",
        "hook": one.headline,
        "body": one.lede,
        "ts": one.week,
        "metadata": {},
        "variant_id": id_,
        "import_id": import_id,
        "generator": "import",
    }


def _observation_row(id_: str, one: Headline) -> dict[str, Any]:
    return {
        "event_id": f"import:{id_}",
        "variant_id": id_,
        "impressions": one.impressions,
        "successes": one.clicks,
        "observed_at": one.week,
    }


def _snapshot_row(id_: str, post_id: int, one: Headline) -> dict[str, Any]:
    return {
        "event_id": f"import:{id_}",
        "post_id": post_id,
        "impressions": one.impressions,
        "engagements": one.clicks,
        "observed_at": one.week,
    }


def read_headlines(path: Path) -> list[Headline]:
    """All rows of the CSV.

    Raises: InvalidInput that names the bad lines and what is wrong with each; NotFound without the file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _read_headlines(file)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}") from None


def _read_headlines(lines: Iterable[str]) -> list[Headline]:
    reader = csv.DictReader(lines, strict=True)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
        raise InvalidInput(f"line 1: the header lacks {', '.join(missing)}; it must name {', '.join(COLUMNS)}")
    headlines, wrong, line = [], [], 2
    try:
        for row in reader:
            try:
                headlines.append(_headline(row, line))
            except InvalidInput as error:
                wrong.append(f"line {line}: {error}")
            line = reader.line_num + 1
    except csv.Error as error:
        wrong.append(f"line {reader.line_num}: {error}")
    if wrong:
        more = f"; and {len(wrong) - SHOWN_ERRORS} more" if len(wrong) > SHOWN_ERRORS else ""
        raise InvalidInput(f"{len(wrong)} bad lines, nothing was imported: {'; '.join(wrong[:SHOWN_ERRORS])}{more}")
    return headlines


def _headline(row: dict[str, str | None], line: int) -> Headline:
    if None in row or any(row[name] is None for name in COLUMNS):
        raise InvalidInput(f"expected {len(COLUMNS)} values")
    impressions, clicks = _count(row, "impressions"), _count(row, "clicks")
    if clicks > impressions:
        raise InvalidInput(f"{clicks} is more than {impressions} impressions", field="clicks")
    return Headline(
        line,
        _text(row, "experiment_id", 80),
        _text(row, "headline", 1000),
        impressions,
        clicks,
        (row["lede"] or "").replace("\x00", ""),
        _week(row["test_week"] or ""),
    )


def _text(row: dict[str, str | None], name: str, limit: int) -> str:
    value = (row[name] or "").strip()
    if not value or len(value) > limit or "\x00" in value:
        raise InvalidInput(f"must be 1 to {limit} characters", field=name)
    return value


def _count(row: dict[str, str | None], name: str) -> int:
    value = (row[name] or "").strip()
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise InvalidInput(f"{value!r} is not a whole number of 0 or more", field=name)
    return int(value)


def _week(value: str) -> datetime:
    """Monday 00:00 UTC of a week written yyyyww as strftime's %Y%W; week 00 begins in the year before."""
    try:
        if len(value) != 6:
            raise ValueError
        return datetime.strptime(f"{value} 1", "%Y%W %w").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(f"{value!r} is not a week written yyyyww", field="test_week") from None


def undo(engine: Engine, import_id: int) -> None:
    """Takes away what the import brought and what was derived from it.

    Raises: NotFound; Conflict while the repository is asked on a schedule, which would bring it back.
    """
    with engine.begin() as connection:
        if (repository := db.polled_repository(connection, import_id)) is not None:
            raise Conflict(f"{repository} is connected, so this would come back; `github disconnect` it first")
        if not db.remove(connection, import_id):
            raise NotFound(f"there is no import {import_id}; `threads-agent import list` shows them")
