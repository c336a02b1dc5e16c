"""Deliveries, pull requests and commits become scored achievements: one per change, whatever told of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import achievements as db
from threads_agent_dagster.db import tasks
from threads_agent_dagster.db.achievements import Evidence, Known, Rows
from threads_agent_dagster.domain.achievements import SCORER_VERSION, Score
from threads_agent_dagster.domain.achievements import score as score_change
from threads_agent_dagster.domain.backfills import Compared
from threads_agent_dagster.domain.changes import Change, Ignored, change_from_document, combine
from threads_agent_dagster.domain.deliveries import change_from_delivery
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.drain import Failure, Job, Origin

ASSET = "achievements"
CODE_VERSION = f"1/{SCORER_VERSION}"  # raise it when the same input gives other rows: history is then stale

# How much each kind of evidence tells of a change; what the richer one does not tell comes from the poorer.
PULL_REQUEST, DELIVERY, COMMIT, PUSH = 4, 3, 2, 1


@dataclass(frozen=True, slots=True)
class ScoredChange:
    """A change with its score and the rows that it was read from.

    `told_by` names the kinds of evidence behind the score; `again` says that it was asked for by the achievement.
    """

    change: Change
    score: Score
    rows: Rows
    told_by: frozenset[str]
    richness: int
    import_id: int | None
    again: bool

    def covers(self, known: Known) -> bool:
        """Whether it stands on all that is known of the achievement, so that it may replace its scores."""
        if self.again:
            return self.rows.holds(known.rows)
        return known.rows.kinds <= self.told_by


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
    rows = evidence.rows
    scored = (
        ScoredChange(
            change,
            score_change(change),
            rows,
            rows.kinds,
            richness,
            evidence.import_id,
            evidence.source_key is not None,
        )
        for richness, change in changes
    )
    return Outcome(evidence, tuple(scored), None)


def _changes(evidence: Evidence) -> Sequence[tuple[int, Change]] | Ignored:
    """The changes with their richness; of an achievement that is scored again, the one on all that its rows tell."""
    if evidence.written is not None:
        return [(0, _written_change(evidence.written))]
    told = _told(evidence)
    if isinstance(told, Ignored) or evidence.source_key is None:
        return told
    same = [one for one in told if evidence.is_told_by(one[1])]
    if not same:
        return Ignored("none of its evidence tells of it any more")
    return [(max(richness for richness, _ in same), reduce(combine, (change for _, change in same)))]


def _told(evidence: Evidence) -> Sequence[tuple[int, Change]] | Ignored:
    """What each kind of evidence tells, the richest first."""
    told: list[tuple[int, Change]] = []
    if evidence.pull is not None:
        told.append((PULL_REQUEST, change_from_document(evidence.pull)))
    if evidence.commit is not None:
        told.append((COMMIT, change_from_document(evidence.commit)))
    reasons = []
    for richness, event, body, received_at in (
        (DELIVERY, evidence.event, evidence.body, evidence.received_at),
        (PUSH, "push", evidence.push, evidence.pushed_at),
    ):
        if event is None or body is None or received_at is None:
            continue
        delivered = change_from_delivery(event, json.loads(body), received_at)
        if isinstance(delivered, Ignored):
            reasons.append(delivered)
        else:
            told += [(richness, one) for one in delivered]
    return sorted(told, key=lambda one: -one[0]) if told or not reasons else reasons[0]


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
    """Stores one achievement per change, and what became of the deliveries.

    A change that others told of already is only linked to their achievement, which is then scored again on everything.
    """
    changes = _one_per_change([change for outcome in results.values() for change in outcome.changes])
    keys = {one.change.source_key for one in changes}
    shas = {one.change.merge_sha for one in changes if one.change.merge_sha}
    known = _united(connection, changes, db.lock_known(connection, keys, shas))
    fresh, linked = _split(changes, known)
    db.link(connection, {id_: (one.rows, one.import_id) for id_, one in linked.items() if not one.again})
    db.rename(connection, {known[key].id: key for one in fresh if (key := one.change.source_key) in known})
    db.store_achievements(connection, [_row(one, origin) for one in fresh])
    db.mark_again(connection, linked, {one.change.source_key for one in fresh if one.rows.kinds > one.told_by})
    db.settle_inbox(connection, _settled(results.values()))
    tasks.complete(connection, results)
    return set()


def _united(connection: Connection, changes: Sequence[ScoredChange], known: Sequence[Known]) -> dict[str, Known]:
    """The achievement that is there of each change (by source key).

    Where there are two, one under its key and one under its merge SHA, they become one.
    """
    by_key = {one.source_key: one for one in known}
    by_sha = {one.merge_sha: one for one in known if one.merge_sha is not None}
    found: dict[str, Known] = {}
    for change in (one.change for one in changes):
        named, merged = by_key.get(change.source_key), by_sha.get(change.merge_sha or "")
        if named is not None and merged is not None and named.id != merged.id:
            found[change.source_key] = db.unite(connection, named, merged)
        elif same := named or merged:
            found[change.source_key] = same
    return found


def _split(
    changes: Sequence[ScoredChange], known: Mapping[str, Known]
) -> tuple[list[ScoredChange], dict[int, ScoredChange]]:
    """Those to store, and those (by achievement id) of which others tell what they do not know."""
    fresh, linked = [], {}
    for one in changes:
        there = known.get(one.change.source_key)
        if there is None or one.covers(there):
            fresh.append(one)
        else:
            linked[there.id] = one
    return fresh, linked


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
    for one in sorted(changes, key=_telling):
        identity = one.change.merge_sha or one.change.source_key
        best[identity] = _with_rows_of(one, best[identity]) if identity in best else one
    by_key: dict[str, ScoredChange] = {}
    for one in sorted(best.values(), key=_telling):
        key = one.change.source_key
        by_key[key] = _with_rows_of(one, by_key[key]) if key in by_key else one
    return [by_key[key] for key in sorted(by_key)]


def _telling(one: ScoredChange) -> tuple[int, bool, datetime]:
    """What tells more comes last, of the same kind the later."""
    return one.richness, not one.again, one.change.completed_at


def _with_rows_of(richer: ScoredChange, poorer: ScoredChange) -> ScoredChange:
    return replace(richer, rows=richer.rows.or_else(poorer.rows), import_id=richer.import_id or poorer.import_id)


def _settled(outcomes: Iterable[Outcome]) -> dict[int, tuple[str, str | None]]:
    return {
        id_: ("processed", None) if one.ignored is None else ("ignored", one.ignored)
        for one in outcomes
        if one.evidence.source_key is None
        and (id_ := one.evidence.rows.inbox_id or one.evidence.rows.push_id) is not None
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
        **asdict(one.rows),
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
