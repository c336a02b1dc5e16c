"""Deliveries and commits become scored achievements: one per change, whatever told of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from threads_agent_dagster.db import achievements as db
from threads_agent_dagster.db import tasks
from threads_agent_dagster.db.achievements import Evidence, Known
from threads_agent_dagster.domain.achievements import SCORER_VERSION, Score
from threads_agent_dagster.domain.achievements import score as score_change
from threads_agent_dagster.domain.backfills import Compared
from threads_agent_dagster.domain.changes import Change, Ignored, change_from_document, combine
from threads_agent_dagster.domain.deliveries import change_from_delivery
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.drain import Failure, Job, Origin

ASSET = "achievements"
CODE_VERSION = f"1/{SCORER_VERSION}"  # raise it when the same input gives other rows: history is then stale

# How much a source tells of a change; the richer one describes an achievement that several tell of.
RICHNESS: Final = {"git": 1, "github": 2, "github_pr": 3}


@dataclass(frozen=True, slots=True)
class ScoredChange:
    """A change with its score and the rows that it was read from."""

    change: Change
    score: Score
    inbox_id: int | None
    commit_id: int | None
    import_id: int | None
    joined: bool  # scored on what a delivery and a commit tell together

    @property
    def richness(self) -> int:
        """How much the source tells; unknown sources tell least."""
        return RICHNESS.get(self.change.source_type, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of evidence amounts to: achievements, or the reason why it makes none."""

    evidence: Evidence
    changes: tuple[ScoredChange, ...]
    ignored: str | None


def job(code_version: str = CODE_VERSION) -> Job[list[Evidence], Outcome]:
    """How `achievements` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_evidence(connection, [row.key for row in rows]),
        compute=lambda evidence: {one.key: judge(one) for one in evidence},
        store=store,
        stale=db.STALE,
        claimed=tasks.begin,
        dead=bury,
        compare=compare,
    )


def judge(evidence: Evidence) -> Outcome | Failure:
    """Reads the changes out of the evidence and scores each."""
    try:
        changes = _changes(evidence)
    except InvalidInput as error:
        return Failure(str(error))
    if isinstance(changes, Ignored):
        return Outcome(evidence, (), changes.reason)
    joined = evidence.body is not None and evidence.change is not None
    scored = (
        ScoredChange(change, score_change(change), evidence.inbox_id, evidence.commit_id, evidence.import_id, joined)
        for change in changes
    )
    return Outcome(evidence, tuple(scored), None)


def _changes(evidence: Evidence) -> Sequence[Change] | Ignored:
    commit = change_from_document(evidence.change) if evidence.change is not None else None
    if evidence.body is not None:
        assert evidence.event is not None  # both are NOT NULL in the inbox
        assert evidence.received_at is not None
        told = change_from_delivery(evidence.event, json.loads(evidence.body), evidence.received_at)
        return told if isinstance(told, Ignored) or commit is None else [_joined(one, commit) for one in told]
    if commit is not None:
        return [commit]
    assert evidence.written is not None  # the third kind of evidence
    return [_written_change(evidence.written)]


def _joined(told: Change, commit: Change) -> Change:
    """What a delivery tells of a change, completed by the commit where both tell of the same one."""
    return combine(told, commit) if told.merge_sha == commit.merge_sha else told


def _written_change(row: Mapping[str, Any]) -> Change:
    """What a person wrote down, as a change; it is scored by the same rules."""
    if row["completed_at"] is None:
        raise InvalidInput("an achievement without an end cannot be scored", field="completed_at")
    return Change(
        source_type=row["source_type"],
        source_key=row["source_key"],
        source_id=row["source_id"] or str(row["id"]),
        repository=row["repository"] or "",
        title=row["title"],
        body=row["description"] or "",
        completed_at=datetime.fromisoformat(row["completed_at"]),
        started_at=datetime.fromisoformat(row["started_at"]) if row["started_at"] else None,
        source_url=row["source_url"],
        author_name=row["author_name"],
        author_email=row["author_email"],
        author_login=row["author_login"],
    )


def store(connection: Connection, results: Mapping[str, Outcome], origin: Origin) -> set[str]:
    """Stores one achievement per change, and what became of the deliveries."""
    changes = _one_per_change([change for outcome in results.values() for change in outcome.changes])
    keys = {one.change.source_key for one in changes}
    shas = {one.change.merge_sha for one in changes if one.change.merge_sha}
    known = db.lock_known(connection, keys, shas)
    poorer, fresh = _split(changes, known)
    db.link_commits(connection, {id_: one.commit_id for id_, one in poorer.items() if one.commit_id is not None})
    db.rename(connection, _renamed(fresh, known))
    db.store_achievements(connection, [_row(one, origin) for one in fresh])
    met = {one.source_key for one in known if one.id in poorer}
    db.mark_joined(connection, met | {one.change.source_key for one in fresh if not one.joined})
    db.settle_inbox(connection, _settled(results.values()))
    tasks.complete(connection, results)
    return set()


def compare(connection: Connection, results: Mapping[str, Outcome]) -> list[Compared]:
    """The figures of achievements beside those that the evidence gives now; where a richer source tells, its row."""
    changes = _one_per_change([change for outcome in results.values() for change in outcome.changes])
    keys = {one.change.source_key for one in changes}
    measured = db.read_measured(connection, keys, {one.change.merge_sha for one in changes if one.change.merge_sha})
    known = {row["merge_sha"] or row["source_key"]: row for row in measured}
    return [_compared(one, known.get(one.change.merge_sha or one.change.source_key)) for one in changes]


def _compared(one: ScoredChange, known: Mapping[str, Any] | None) -> Compared:
    score = one.score
    new: dict[str, str | float | None] = {
        "category": score.category,
        "impact_score": score.impact_score,
        "complexity_score": score.complexity_score,
        "time_saved_hours": score.time_saved_hours,
        "performance_improvement_pct": score.performance_improvement_pct,
        "skills": len(score.skills),
    }
    return Compared(one.change.source_key, known, new)


def bury(connection: Connection, dead: Mapping[str, str]) -> None:
    """Says of deliveries and tasks that they never will become an achievement, and why."""
    tasks.fail(connection, dead)
    deliveries = {int(key.removeprefix("inbox:")): error for key, error in dead.items() if key.startswith("inbox:")}
    db.settle_inbox(connection, {id_: ("failed", error) for id_, error in deliveries.items()})


def _one_per_change(changes: Sequence[ScoredChange]) -> list[ScoredChange]:
    """The richest and latest of those with one key or one merge SHA, in order of key, with the rows of all of them."""
    best: dict[str, ScoredChange] = {}
    for one in sorted(changes, key=lambda one: (one.richness, one.change.completed_at)):
        identity = one.change.merge_sha or one.change.source_key
        best[identity] = _with_rows_of(one, best[identity]) if identity in best else one
    by_key = {one.change.source_key: one for one in best.values()}
    return [by_key[key] for key in sorted(by_key)]


def _with_rows_of(richer: ScoredChange, poorer: ScoredChange) -> ScoredChange:
    return replace(
        richer,
        inbox_id=richer.inbox_id or poorer.inbox_id,
        commit_id=richer.commit_id or poorer.commit_id,
        import_id=richer.import_id or poorer.import_id,
    )


def _split(
    changes: Sequence[ScoredChange], known: Sequence[Known]
) -> tuple[dict[int, ScoredChange], list[ScoredChange]]:
    """Those that a richer source already tells of (by achievement id), and those to store."""
    by_sha = {one.merge_sha: one for one in known if one.merge_sha}
    poorer, fresh = {}, []
    for one in changes:
        other = by_sha.get(one.change.merge_sha or "")
        if other is not None and RICHNESS.get(other.source_type, 0) > one.richness:
            poorer[other.id] = one
        else:
            fresh.append(one)
    return poorer, fresh


def _renamed(fresh: Sequence[ScoredChange], known: Sequence[Known]) -> dict[int, str]:
    by_sha = {one.merge_sha: one for one in known if one.merge_sha}
    taken = {one.source_key for one in known}
    return {
        other.id: one.change.source_key
        for one in fresh
        if (other := by_sha.get(one.change.merge_sha or "")) is not None
        and other.source_key != one.change.source_key
        and one.change.source_key not in taken
    }


def _settled(outcomes: Iterable[Outcome]) -> dict[int, tuple[str, str | None]]:
    return {
        one.evidence.inbox_id: ("processed", None) if one.ignored is None else ("ignored", one.ignored)
        for one in outcomes
        if one.evidence.inbox_id is not None
    }


def _row(one: ScoredChange, origin: Origin) -> dict[str, Any]:
    change, score = one.change, one.score
    value = score.business_value
    return {
        "source_key": change.source_key,
        "source_type": change.source_type,
        "source_id": change.source_id,
        "source_url": change.source_url,
        "repository": change.repository,
        "merge_sha": change.merge_sha,
        "title": change.title,
        "description": change.body,
        "category": score.category,
        "started_at": change.started_at,
        "completed_at": change.completed_at,
        "impact_score": score.impact_score,
        "complexity_score": score.complexity_score,
        "impact_rules": [asdict(rule) for rule in score.impact_rules],
        "complexity_rules": [asdict(rule) for rule in score.complexity_rules],
        "business_value": None if value is None else asdict(value),
        "time_saved_hours": score.time_saved_hours,
        "performance_improvement_pct": score.performance_improvement_pct,
        "skills": [asdict(skill) for skill in score.skills],
        "author_name": change.author_name,
        "author_email": change.author_email,
        "author_login": change.author_login,
        "metadata_json": _metadata(change, score),
        "inbox_id": one.inbox_id,
        "commit_id": one.commit_id,
        "import_id": one.import_id,
        "scorer_version": SCORER_VERSION,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }


def _metadata(change: Change, score: Score) -> dict[str, Any]:
    """What stands beside the columns: the derived title and category (people may edit both), counts and co-authors."""
    return {
        "told_at": change.completed_at.isoformat(),
        "derived": {"title": change.title, "category": score.category},
        "category_evidence": score.category_evidence,
        "labels": list(change.labels),
        "files": change.changed_files,
        "additions": change.additions,
        "deletions": change.deletions,
        "commits": change.commits,
        "reviewers": change.reviewers,
        "comments": change.comments,
        "co_authors": [asdict(person) for person in change.co_authors],
        **change.metadata,
    }
