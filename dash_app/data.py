"""Everything the dashboard reads, one short transaction per page; nothing here writes.

Raises everywhere: Unavailable when the database does not answer, ConfigurationError when its schema is another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    RowMapping,
    Select,
    Text,
    cast,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dash_app.address import EVERYONE
from dash_app.rows import (
    PER_PAGE,
    Achievement,
    Arc,
    DayTotal,
    DeadItem,
    Experiment,
    FeelingEffect,
    Figures,
    Foreseen,
    HookRecord,
    ListedAchievement,
    ListedPost,
    Listing,
    Origin,
    Overview,
    QueueLine,
    Rule,
    Segment,
    SetAside,
    Similar,
    Variant,
    Verdict,
)
from threads_agent_dagster.db import embeddings, hooks, identities, metrics, portfolio, verdicts
from threads_agent_dagster.db.achievements import holds_words
from threads_agent_dagster.db.tables import (
    achievement_theme_members,
    achievement_themes,
    achievements,
    emotion_effects,
    emotion_segments,
    emotion_trajectories,
    emotion_transitions,
    experiments,
    hook_predictions,
    personas,
    post_engagement,
    posts,
    variant_performance,
    variants,
)
from threads_agent_dagster.domain.emotions import EMOTIONS
from threads_agent_dagster.errors import ConfigurationError, Unavailable

SIMILAR = 0.5  # cosine from which on two achievements are worth showing together
MOST_SIMILAR = 6
EXPORT_ROWS = 1_000  # fetched at a time, so that an export of any size needs the same memory


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("the database does not answer") from error
    except ProgrammingError as error:
        raise ConfigurationError(
            f"the database is not at this version's schema ({_reason(error)}); run `threads-agent db upgrade`"
        ) from error


def _reason(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


# What moves: polled every few seconds by every open page.

_PULSE = text("""
    SELECT (SELECT max(id) FROM dashboard_refreshes) AS refresh,
           (SELECT last_value FROM pending_change) AS change,
           (SELECT count(*) FROM (SELECT FROM pending LIMIT 10000) AS counted) AS waiting
""")


def pulse(engine: Engine) -> str:
    """A token that differs whenever the overview may have changed; its cost does not grow with the data."""
    with _reading(engine) as connection:
        return "/".join(str(value) for value in connection.execute(_PULSE).one())


# Overview.


_FIGURES = text("SELECT utc_day(now()) AS today, * FROM dashboard_metrics")
_DAILY = text("""
    SELECT metric, day, label, sum(n)::bigint AS n, sum(total)::double precision AS total
    FROM dashboard_metrics_daily
    WHERE day > utc_day(now()) - 30 AND day <= utc_day(now())
    GROUP BY GROUPING SETS ((metric, day), (metric, label))
    HAVING GROUPING(label) = 1 OR metric = 'achievements'
    ORDER BY day, n DESC, label
""")
_QUEUE = text("""
    SELECT asset,
           count(*) FILTER (WHERE dead_at IS NULL AND coalesce(lease_until <= now(), true)) AS waiting,
           count(*) FILTER (WHERE dead_at IS NULL AND lease_until > now()) AS working,
           count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead,
           min(day) AS oldest_day
    FROM pending GROUP BY asset ORDER BY asset
""")
_DEAD = text("SELECT asset, key, error, dead_at FROM pending WHERE dead_at IS NOT NULL ORDER BY dead_at DESC LIMIT 5")


_MY_METRICS = ("achievements", "impact", "time_saved")


def overview(engine: Engine, *, everyone: bool = False) -> Overview:
    """The figures of the last 30 days, their days, and the queue as it is now.

    Achievements are mine, as far as it is known who I am; with `everyone` they are all people's.
    """
    with _reading(engine) as connection:
        figures = _figures(connection.execute(_FIGURES).one())
        daily, categories = _by_day(connection.execute(_DAILY).all())
        me = identities.read(connection)
        if me and not everyone:
            mine, categories = _by_day(metrics.read_mine(connection))
            daily |= {metric: mine.get(metric, []) for metric in _MY_METRICS}
            figures = None if figures is None else _my_figures(figures, mine, len(categories))
        queue = [QueueLine(**row) for row in connection.execute(_QUEUE).mappings()]
        dead = [DeadItem(**row) for row in connection.execute(_DEAD).mappings()]
    return Overview(figures, daily, categories, queue, dead, me)


def _my_figures(everyones: Figures, daily: Mapping[str, Sequence[DayTotal]], categories: int) -> Figures:
    count = {metric: sum(day.n for day in daily.get(metric, ())) for metric in _MY_METRICS}
    total = {metric: sum(day.total for day in daily.get(metric, ())) for metric in _MY_METRICS}
    return replace(
        everyones,
        achievements=count["achievements"],
        average_impact=total["impact"] / count["impact"] if count["impact"] else None,
        hours_saved=total["time_saved"] if count["time_saved"] else None,
        categories=categories,
    )


def _figures(row: Row[Any]) -> Figures | None:
    if row.refreshed_at is None:
        return None
    return Figures(
        today=row.today,
        achievements=row.total_achievements,
        average_impact=row.avg_impact,
        hours_saved=row.total_time_saved,
        categories=row.categories_covered,
        posts=row.total_posts,
        arcs=row.total_arcs,
        engagement_rate=row.engagement_rate,
        impressions=row.observed_impressions,
        successes=row.observed_successes,
        origin=Origin("dashboard_metrics", row.run_id, row.refreshed_at, row.code_version),
    )


def _by_day(rows: Sequence[Row[Any]]) -> tuple[dict[str, list[DayTotal]], list[tuple[str, int]]]:
    daily: dict[str, list[DayTotal]] = {}
    for row in rows:
        if row.day is not None:
            daily.setdefault(row.metric, []).append(DayTotal(row.day, row.n, row.total))
    return daily, [(row.label, row.n) for row in rows if row.day is None and row.n]


# Achievements.


ACHIEVEMENT_ORDERS = {
    "completed": achievements.c.completed_at,
    "impact": achievements.c.impact_score,
    "complexity": achievements.c.complexity_score,
    "title": func.lower(achievements.c.title),
}
_AUTHOR = func.coalesce(achievements.c.author_name, achievements.c.author_login, achievements.c.author_email)


def list_achievements(engine: Engine, asked: Mapping[str, str], page: int) -> Listing[ListedAchievement]:
    """Mine, or with `who` everyone's; filtered by `q` (title, repository, author), `category`, `source`; by `sort`."""
    with _reading(engine) as connection:
        rows, total, page = _page(connection, _achievements(asked), page)
    return Listing([_listed_achievement(row) for row in rows], total, page)


def export_achievements(engine: Engine, asked: Mapping[str, str]) -> Iterator[ListedAchievement]:
    """All that the same filters let through, in constant memory."""
    with _reading(engine) as connection:
        for row in connection.execution_options(yield_per=EXPORT_ROWS).execute(_achievements(asked)):
            yield _listed_achievement(row)


def export_portfolio(engine: Engine, *, everyone: bool = False) -> list[dict[str, Any]]:
    """The rows of the portfolio: what is marked ready and mine, or everyone's."""
    with _reading(engine) as connection:
        return list(portfolio.exported(connection, portfolio.Selection(everyone=everyone)))


def me(engine: Engine) -> identities.Me:
    """Who I am; empty while nobody said so."""
    with _reading(engine) as connection:
        return identities.read(connection)


def list_themes(engine: Engine) -> list[tuple[str, str]]:
    """Ids with labels, the largest theme first."""
    statement = select(achievement_themes.c.id, achievement_themes.c.label).order_by(achievement_themes.c.id)
    with _reading(engine) as connection:
        return [(str(row.id), row.label) for row in connection.execute(statement)]


def similar_achievements(engine: Engine, key: int) -> list[Similar] | None:
    """The nearest first; None until the achievement has its vector, or while vectors of several models lie together."""
    with _reading(engine) as connection:
        found = embeddings.vector_of(connection, key)
        if found is None or len(embeddings.models(connection)) > 1:
            return None
        rows = embeddings.nearest(connection, key, found.embedding, at_least=SIMILAR, limit=MOST_SIMILAR)
    return [Similar(row["id"], row["title"], row["completed_at"], row["similarity"]) for row in rows]


def achievement(engine: Engine, key: int) -> Achievement | None:
    statement = select(achievements, _AUTHOR.label("author")).where(
        achievements.c.id == literal(key, BigInteger), achievements.c.deleted_at.is_(None)
    )
    with _reading(engine) as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else _achievement(row)


def _achievements(asked: Mapping[str, str]) -> Select[Any]:
    columns = achievements.c
    whose = text(identities.WHOSE).bindparams(author=None, everyone=asked.get("who") == EVERYONE)
    statement = select(achievements, _AUTHOR.label("author")).where(columns.deleted_at.is_(None), whose)
    if words := asked.get("q"):
        statement = statement.where(holds_words(words))
    if category := asked.get("category"):
        statement = statement.where(cast(columns.category, Text) == category)
    if (theme := asked.get("theme", "")).isdecimal() and len(theme) < 9:
        members = achievement_theme_members.c
        statement = statement.where(
            columns.id.in_(select(members.achievement_id).where(members.theme_id == int(theme)))
        )
    if source := asked.get("source"):
        statement = statement.where(cast(columns.source_type, Text) == source)
    return statement.order_by(*_order(asked.get("sort", ""), ACHIEVEMENT_ORDERS, "-completed"), columns.id.desc())


def _order(sort: str, orders: Mapping[str, ColumnElement[Any]], default: str) -> list[ColumnElement[Any]]:
    """`name` ascending, `-name` descending; what is missing comes last either way."""
    chosen = sort if sort.removeprefix("-") in orders else default
    column = orders[chosen.removeprefix("-")]
    return [(column.desc() if chosen.startswith("-") else column.asc()).nulls_last()]


def _page(connection: Connection, statement: Select[Any], page: int) -> tuple[Sequence[Row[Any]], int, int]:
    """The rows of a page, how many there are on all, and the page, which is the last one if there are fewer."""
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    total = connection.execute(counted).scalar_one()
    page = min(page, max(1, -(-total // PER_PAGE)))
    return connection.execute(statement.limit(PER_PAGE).offset((page - 1) * PER_PAGE)).all(), total, page


def _listed_achievement(row: Row[Any]) -> ListedAchievement:
    return ListedAchievement(
        id=row.id,
        title=row.title,
        category=row.category,
        impact_score=row.impact_score,
        complexity_score=row.complexity_score,
        completed_at=row.completed_at,
        source_type=row.source_type,
        repository=row.repository,
        author=row.author,
        origin=Origin("achievements", row.run_id, row.updated_at, row.code_version, row.scorer_version),
    )


def _achievement(row: Row[Any]) -> Achievement:
    return Achievement(
        listed=_listed_achievement(row),
        description=row.description,
        started_at=row.started_at,
        source_url=row.source_url,
        merge_sha=row.merge_sha,
        time_saved_hours=row.time_saved_hours,
        impact_rules=_rules(row.impact_rules),
        complexity_rules=_rules(row.complexity_rules),
        skills=[(skill["name"], skill["evidence"]) for skill in row.skills],
        quotes=[claim["quote"] for claim in (row.business_value or {}).get("claims", [])],
        set_aside=[
            SetAside(one["field"], one["value"], one["edited_by"]) for one in row.metadata_json.get("set_aside", [])
        ],
    )


def _rules(stored: list[dict[str, Any]] | None) -> list[Rule] | None:
    return None if stored is None else [Rule(**rule) for rule in stored]


# Posts and their arcs.


POST_ORDERS = {
    "ts": posts.c.ts,
    "engagement": post_engagement.c.engagement_rate,
    "mood": emotion_trajectories.c.sentiment_compound,
}


def list_personas(engine: Engine) -> list[tuple[str, str]]:
    """Ids with names."""
    with _reading(engine) as connection:
        return [(row.id, row.name) for row in connection.execute(select(personas).order_by(personas.c.name))]


def feeling_effects(engine: Engine, persona: str | None) -> list[FeelingEffect]:
    """What could be estimated, the surest first; of one persona or of all."""
    effects = emotion_effects.c
    statement = select(emotion_effects, personas.c.name).join(personas, personas.c.id == effects.persona_id)
    statement = statement.where(effects.q_value.is_not(None)).order_by(effects.q_value, effects.feature)
    if persona:
        statement = statement.where(effects.persona_id == persona)
    with _reading(engine) as connection:
        return [_feeling_effect(row) for row in connection.execute(statement)]


def _feeling_effect(row: Row[Any]) -> FeelingEffect:
    return FeelingEffect(
        persona=row.name,
        design=row.design,
        feature=row.feature,
        comparisons=row.comparisons,
        odds_ratio=row.odds_ratio,
        low=row.odds_ratio_low,
        high=row.odds_ratio_high,
        q_value=row.q_value,
        verdict=row.verdict,
        origin=Origin("emotion_effects", row.run_id, row.created_at, row.code_version, row.scorer_version),
    )


def list_posts(engine: Engine, asked: Mapping[str, str], page: int) -> Listing[ListedPost]:
    """Filtered by `q` (hook, body), `persona`, `arc`; ordered by `sort`."""
    statement = _posts()
    if words := asked.get("q"):
        searched = (posts.c.hook, posts.c.body)
        statement = statement.where(or_(*(column.icontains(words, autoescape=True) for column in searched)))
    if persona := asked.get("persona"):
        statement = statement.where(posts.c.persona_id == persona)
    if shape := asked.get("arc"):
        statement = statement.where(emotion_trajectories.c.trajectory_type == shape)
    statement = statement.order_by(*_order(asked.get("sort", ""), POST_ORDERS, "-ts"), posts.c.id.desc())
    with _reading(engine) as connection:
        rows, total, page = _page(connection, statement, page)
    return Listing([_listed_post(row) for row in rows], total, page)


def post(engine: Engine, key: int) -> tuple[ListedPost, list[Segment]] | None:
    """A post with the parts of its arc, none while it was not analysed."""
    with _reading(engine) as connection:
        row = connection.execute(_posts().where(posts.c.id == key)).one_or_none()
        if row is None:
            return None
        segments = connection.execute(_segments(key)).all()
    return _listed_post(row), [_segment(segment) for segment in segments]


def _posts() -> Select[Any]:
    arc, engagement = emotion_trajectories.c, post_engagement.c
    return select(
        posts,
        arc.trajectory_type,
        arc.reason,
        arc.dominant_emotion,
        arc.sentiment_compound,
        arc.confidence,
        *(column.label(f"arc_{column.name}") for column in (arc.run_id, arc.created_at, arc.code_version)),
        arc.scorer_version,
        engagement.impressions,
        engagement.engagement_rate.label("rate"),
        *(
            column.label(f"rate_{column.name}")
            for column in (engagement.run_id, engagement.updated_at, engagement.code_version)
        ),
        personas.c.name.label("persona"),
    ).select_from(posts.join(personas).outerjoin(emotion_trajectories).outerjoin(post_engagement))


def _segments(key: int) -> Select[Any]:
    joined = (
        emotion_trajectories.join(emotion_segments, emotion_segments.c.trajectory_id == emotion_trajectories.c.id)
    ).outerjoin(
        emotion_transitions,
        (emotion_transitions.c.trajectory_id == emotion_trajectories.c.id)
        & (emotion_transitions.c.to_index == emotion_segments.c.index),
    )
    return (
        select(emotion_segments, emotion_segments.c.index.label("position"), emotion_transitions.c.type)
        .select_from(joined)
        .where(emotion_trajectories.c.post_id == key)
        .order_by(emotion_segments.c.index)
    )


def _listed_post(row: Row[Any]) -> ListedPost:
    return ListedPost(
        id=row.id,
        persona=row.persona,
        hook=row.hook,
        body=row.body,
        ts=row.ts,
        generator=row.generator,
        arc=_arc(row) if row.trajectory_type is not None else None,
        engagement_rate=row.rate,
        impressions=row.impressions,
        engagement_origin=Origin("post_engagement", row.rate_run_id, row.rate_updated_at, row.rate_code_version),
        origin=Origin("posts", row.run_id, None, row.code_version),
    )


def _arc(row: Row[Any]) -> Arc:
    return Arc(
        shape=row.trajectory_type,
        reason=row.reason,
        dominant=row.dominant_emotion,
        mood=row.sentiment_compound,
        confidence=row.confidence,
        origin=Origin(
            "emotion_trajectories", row.arc_run_id, row.arc_created_at, row.arc_code_version, row.scorer_version
        ),
    )


def _segment(row: Row[Any]) -> Segment:
    return Segment(
        index=row.position,
        text=row.text,
        mood=row.sentiment_compound,
        dominant=row.dominant_emotion,
        emotions={emotion: getattr(row, emotion) for emotion in EMOTIONS},
        change=row.type,
    )


# Experiments.


EXPERIMENT_ORDERS = {
    "started": func.coalesce(experiments.c.started_at, experiments.c.created_at),
    "name": func.lower(experiments.c.name),
}


def list_experiments(engine: Engine, asked: Mapping[str, str], page: int) -> Listing[Experiment]:
    """Filtered by `q` (name), `status`; ordered by `sort`."""
    statement = select(experiments).where(*verdicts.named(asked.get("q"), asked.get("status")))
    statement = statement.order_by(*_order(asked.get("sort", ""), EXPERIMENT_ORDERS, "-started"), experiments.c.id)
    with _reading(engine) as connection:
        rows, total, page = _page(connection, statement, page)
        keys = [row.id for row in rows]
        variants_of, verdict_of = _variants(connection, keys), verdicts.find_all(connection, keys)
    found = [_experiment(row, variants_of) for row in rows]
    judged = [replace(one, verdict=_verdict(verdict_of[one.id])) if one.id in verdict_of else one for one in found]
    return Listing(judged, total, page)


def export_experiments(engine: Engine, asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """All that the same filters let through by id, with their stored verdicts, in constant memory."""
    with _reading(engine) as connection:
        for row in verdicts.export(connection, asked.get("q"), asked.get("status")):
            yield dict(row)


def experiment(engine: Engine, key: str) -> Experiment | None:
    with _reading(engine) as connection:
        row = connection.execute(select(experiments).where(experiments.c.id == key)).one_or_none()
        if row is None:
            return None
        found = _experiment(row, _variants(connection, [key]))
        stored = verdicts.find(connection, key)
        verdict = None if stored is None else _verdict(stored)
        return replace(found, verdict=verdict, promoted=verdicts.promoted(connection, key))


def _verdict(row: RowMapping) -> Verdict:
    document = json.loads(row["document"])
    return Verdict(
        verdict=row["verdict"],
        reason=row["reason"],
        rule=row["rule"],
        gate=row["gate"],
        variant_id=row["variant_id"],
        n=row["n"],
        p_value_sequential=row["p_value_sequential"],
        srm_p=row["srm_p"],
        p_best={arm["variant_id"]: arm["p_best"] for arm in document["arms"] if arm["p_best"] is not None},
        origin=Origin("experiment_verdicts", row["run_id"], row["computed_at"], row["code_version"]),
    )


def _variants(connection: Connection, keys: Sequence[str]) -> Mapping[str, list[Variant]]:
    """Experiment id → its variants, the control first."""
    columns, measured, foreseen = variants.c, variant_performance.c, hook_predictions.c
    foreseen_columns = (foreseen.sample, foreseen.predicted_rank, foreseen.model_version)
    foreseen_by = (foreseen.run_id, foreseen.created_at, foreseen.code_version)
    statement = (
        select(columns.experiment_id, columns.variant_id, columns.hook, columns.is_control, variant_performance)
        .add_columns(*foreseen_columns, *(column.label(f"foreseen_{column.name}") for column in foreseen_by))
        .select_from(
            variants.outerjoin(variant_performance, measured.variant_id == columns.variant_id).outerjoin(
                hook_predictions, foreseen.variant_id == columns.variant_id
            )
        )
        .where(columns.experiment_id.in_(keys))
        .order_by(columns.is_control.desc(), measured.mean_performance.desc().nulls_last(), columns.variant_id)
    )
    found: dict[str, list[Variant]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.experiment_id, []).append(_variant(row))
    return found


def _experiment(row: Row[Any], variants_of: Mapping[str, list[Variant]]) -> Experiment:
    return Experiment(
        id=row.id,
        name=row.name,
        status=row.status,
        plan=row.plan,
        started_at=row.started_at,
        ended_at=row.ended_at,
        variants=variants_of.get(row.id, []),
    )


def _variant(row: Row[Any]) -> Variant:
    return Variant(
        id=row.variant_id,
        hook=row.hook,
        is_control=row.is_control,
        impressions=row.impressions,
        successes=row.successes,
        rate=row.mean_performance,
        low=row.ci_low,
        high=row.ci_high,
        confidence_level=row.confidence_level,
        origin=Origin("variant_performance", row.run_id, row.updated_at, row.code_version),
        foreseen=_foreseen(row) if row.predicted_rank is not None else None,
    )


def _foreseen(row: Row[Any]) -> Foreseen:
    made_by = (row.foreseen_run_id, row.foreseen_created_at, row.foreseen_code_version, row.model_version)
    return Foreseen(row.predicted_rank, row.sample, Origin("hook_predictions", *made_by))


def hook_records(engine: Engine) -> list[HookRecord]:
    """How the hook model's predictions came true: by sample and pairs counted, the whole range before its bins."""
    with _reading(engine) as connection:
        return [_hook_record(row) for row in hooks.find_calibration(connection)]


def _hook_record(row: RowMapping) -> HookRecord:
    return HookRecord(
        sample=row["sample"],
        counted=row["counted"],
        chance_from=row["chance_from"],
        chance_to=row["chance_to"],
        experiments=row["experiments"],
        pairs=row["pairs"],
        mean_chance=row["mean_chance"],
        expected_right=row["expected_right"],
        share_right=row["share_right"],
        low=row["share_low"],
        high=row["share_high"],
        brier=row["brier"],
        origin=Origin("hook_calibration", row["run_id"], row["created_at"], row["code_version"], row["model_version"]),
    )
