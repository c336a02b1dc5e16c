"""Each check fires when its table is broken, and only then."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.db import checks

RUN = {"run_id": "run-1", "first": date(2026, 1, 1), "last": date(2026, 1, 31)}
SEED = """
INSERT INTO tasks (id, type, payload, status, created_at)
VALUES (1, 'content.generation', '{"topic": "t"}', 'completed', '2026-01-05');
INSERT INTO posts (id, persona_id, hook, body, ts, task_id, generator, run_id, engagement_rate)
VALUES (101, 'default', 'A hook', 'A body', '2026-01-05', 1, 'composer@1', 'run-1', 0.5);
INSERT INTO emotion_trajectories (id, post_id, persona_id, day, content_hash, segment_count, trajectory_type, joy_avg,
    sentiment_compound, peaks, valleys, scorer_version, run_id)
VALUES (101, 101, 'default', '2026-01-05', 'hash', 2, 'rising', 0.5, 0.25, '{}', '{}', 's@1', 'run-1');
INSERT INTO emotion_segments (trajectory_id, index, text, joy, sentiment_compound)
VALUES (101, 0, 'A hook', 0.4, 0.0), (101, 1, 'A body', 0.6, 0.5);
DELETE FROM pending;
INSERT INTO engagement_snapshots (id, event_id, post_id, impressions, engagements, observed_at)
VALUES (1, 'e1', 101, 100, 50, '2026-01-06');
INSERT INTO post_engagement (post_id, persona_id, day, snapshot_id, impressions, engagements, engagement_rate,
    observed_at, run_id) VALUES (101, 'default', '2026-01-05', 1, 100, 50, 0.5, '2026-01-06', 'run-1');
INSERT INTO achievements (id, title, category, source_type, source_key, completed_at, impact_score, complexity_score,
    impact_rules, complexity_rules, business_value, run_id)
VALUES (101, 'Ship it', 'feature', 'git', 'git:r:1', '2026-01-05', 30, 20,
    '[{"name": "a", "points": 10}, {"name": "b", "points": 20}]', '[{"name": "c", "points": 20}]',
    '{"claims": [{"quote": "saves 2 hours"}]}', 'run-1');
UPDATE achievements SET portfolio_ready = id = 101;
INSERT INTO portfolio (achievement_id, position, section, content_sha256, run_id)
VALUES (101, 1, 'feature', '', 'run-1');
INSERT INTO achievement_embeddings (achievement_id, model, dimensions, content_hash, embedding, run_id)
VALUES (101, 'm', 3, 'hash', '[0,0.6,0.8]', 'run-1');
INSERT INTO achievement_themes (id, label, words, run_id) VALUES (1, 'ship', '{ship}', 'run-1');
INSERT INTO achievement_theme_members (achievement_id, theme_id, closeness) VALUES (101, 1, 0.5);
INSERT INTO achievements (id, title, category, source_type, source_key, completed_at)
VALUES (102, 'Sell', 'feature', 'github_pr', 'gh:acme/shop:pr:7', '2026-02-05');
INSERT INTO achievement_embeddings (achievement_id, model, dimensions, content_hash, embedding)
VALUES (102, 'm', 3, 'hash', '[0,0.6,0.8]');
INSERT INTO pull_requests (repository, number, day, merged_at, updated_at, listed_at, reason)
VALUES ('acme/shop', 7, '2026-02-05', '2026-02-05', '2026-02-05', '2026-02-05', NULL),
    ('acme/shop', 8, '2026-02-05', '2026-02-05', '2026-02-05', '2026-02-05', 'written by a bot');
INSERT INTO github_repositories (repository, connected_at) VALUES ('acme/shop', '2026-01-01');
INSERT INTO variants (variant_id) VALUES ('v1');
INSERT INTO emotion_effects (persona_id, design, feature, comparisons, posts, odds_ratio, odds_ratio_low,
    odds_ratio_high, p_value, q_value, verdict, scorer_version)
VALUES ('default', 'randomised', 'joy', 30, 60, 1.01, 0.9, 1.1, 0.5, 0.9, 'no evidence', 's@1');
INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at)
VALUES ('o1', 'v1', 100, 7, '2026-01-06');
INSERT INTO variant_performance (variant_id, dimensions, impressions, successes, mean_performance, run_id)
VALUES ('v1', '{}', 100, 7, 0.07, 'run-1');
INSERT INTO experiments (id, name, status, plan, plan_hash, started_at)
VALUES ('e1', 'e', 'running', '{"stopping_rule": "fixed", "horizon": 100, "minimum_sample": 50}', 'h1', '2026-01-05');
INSERT INTO variants (variant_id, experiment_id, hook) VALUES ('h1', 'e1', 'One'), ('h2', 'e1', 'Two');
INSERT INTO hook_predictions (variant_id, experiment_id, predicted_logit, predicted_sd, predicted_rank, sample,
    model_version, content_hash)
VALUES ('h1', 'e1', 0.1, 0.2, 1, 'unseen', 'm@1', 'h'), ('h2', 'e1', -0.1, 0.2, 2, 'unseen', 'm@1', 'h');
INSERT INTO hook_calibration (sample, counted, chance_from, chance_to, experiments, pairs, mean_chance, expected_right,
    share_right, share_low, share_high, brier, log_loss, model_version)
VALUES ('unseen', 'all', 0.5, 1, 10, 10, 0.6, 0.6, 0.7, 0.5, 0.8, 0.2, 0.6, 'm@1'),
    ('unseen', 'all', 0.6, 0.65, 10, 10, 0.6, 0.6, 0.7, 0.5, 0.8, 0.2, 0.6, 'm@1');
INSERT INTO experiment_verdicts (experiment_id, plan_hash, input_version, test, prior, n, smallest, verdict, reason,
    rule, srm_p, stale, document, sha256, run_id)
VALUES ('e1', 'h1', 'i1', 't', 'p', 200, 100, 'ship', 'r', 'r', 0.5, false, '{}', 's', 'run-1');
DELETE FROM pending;
SELECT refresh_dashboard_metrics();
"""
BREAKS = {
    ("posts", "every_new_post_has_a_hook"): "UPDATE posts SET hook = ' '",
    ("posts", "every_new_post_names_its_generator"): "UPDATE posts SET generator = NULL",
    ("posts", "every_completed_task_has_its_post"): "DELETE FROM posts",
    ("emotions", "scores_within_unit_interval"): "UPDATE emotion_trajectories SET joy_avg = 1.5",
    ("emotions", "averages_equal_their_segments"): "UPDATE emotion_segments SET joy = 0.9 WHERE index = 0",
    ("emotions", "every_arc_has_its_segments"): "UPDATE emotion_trajectories SET segment_count = 3",
    ("emotions", "every_post_has_an_arc_or_a_reason"): "DELETE FROM emotion_trajectories",
    ("emotions", "one_current_arc_per_post"): """
        ALTER TABLE emotion_trajectories DROP CONSTRAINT uq_emotion_trajectories_post_id;
        INSERT INTO emotion_trajectories (post_id, persona_id, day, content_hash, segment_count, trajectory_type, peaks,
            valleys, scorer_version) SELECT post_id, persona_id, day, 'other', 2, 'stable', '{}', '{}', 's@1'
            FROM emotion_trajectories""",
    ("effects", "every_effect_lies_in_its_interval"): "UPDATE emotion_effects SET odds_ratio = 2",
    ("effects", "every_verdict_follows_its_q_value"): "UPDATE emotion_effects SET verdict = 'raises'",
    ("hooks", "every_competing_hook_is_predicted"): "DELETE FROM hook_predictions WHERE variant_id = 'h1'",
    (
        "hooks",
        "predictions_are_against_the_mean_of_their_experiment",
    ): "UPDATE hook_predictions SET predicted_logit = 0.1",
    ("hooks", "one_experiment_has_one_origin"): """
        UPDATE hook_predictions SET sample = 'in sample' WHERE variant_id = 'h1'""",
    ("hooks", "bins_hold_all_pairs"): "UPDATE hook_calibration SET pairs = 11 WHERE chance_to = 1",
    ("hooks", "every_share_lies_in_its_interval"): "UPDATE hook_calibration SET share_right = 0.9",
    ("engagement", "rates_follow_from_counts"): "UPDATE post_engagement SET engagement_rate = 0.9",
    ("engagement", "posts_show_the_newest_rate"): "UPDATE posts SET engagement_rate = NULL",
    ("achievements", "impact_score_within_bounds"): """
        ALTER TABLE achievements DROP CONSTRAINT chk_achievements_impact_score;
        UPDATE achievements SET impact_score = 101""",
    ("achievements", "every_score_is_explained"): "UPDATE achievements SET impact_score = 31",
    ("achievements", "no_value_without_quote"): """UPDATE achievements SET business_value = '{"amount": 5}'""",
    ("achievements", "one_achievement_per_source_key"): """
        ALTER TABLE achievements DROP CONSTRAINT uq_achievements_source_key;
        INSERT INTO achievements (title, category, source_type, source_key, completed_at)
        VALUES ('again', 'feature', 'git', 'git:r:1', '2026-01-06')""",
    ("portfolio", "the_portfolio_is_what_is_ready"): "DELETE FROM portfolio",
    ("portfolio", "positions_have_no_gap"): "UPDATE portfolio SET position = 2",
    (
        "portfolio",
        "every_claim_that_is_shown_has_its_quote",
    ): """UPDATE achievements SET business_value = '{"claims": [{"amount": 5}]}'""",
    ("embeddings", "every_vector_has_length_one"): "UPDATE achievement_embeddings SET embedding = '[0,0.6,0.6]'",
    ("embeddings", "all_vectors_are_of_one_model"): """
        INSERT INTO achievements (id, title, category, source_type) VALUES (103, 'Other', 'feature', 'git');
        INSERT INTO achievement_embeddings (achievement_id, model, dimensions, content_hash, embedding)
        VALUES (103, 'another', 2, 'hash', '[0.6,0.8]')""",
    ("embeddings", "every_achievement_has_its_vector"): "DELETE FROM achievement_embeddings",
    ("themes", "every_theme_has_members"): "DELETE FROM achievement_theme_members",
    ("themes", "every_member_is_close_to_its_theme"): "UPDATE achievement_theme_members SET closeness = 0.1",
    ("themes", "every_theme_is_named_by_its_members"): "UPDATE achievement_themes SET words = '{ship,another}'",
    ("experiments", "successes_never_exceed_impressions"): """
        ALTER TABLE variant_performance DROP CONSTRAINT chk_variant_performance_counts;
        UPDATE variant_performance SET successes = 101""",
    ("pull_requests", "merged_prs_all_collected"): "DELETE FROM achievements WHERE source_key = 'gh:acme/shop:pr:7'",
    ("pull_requests", "every_connected_repository_answers"): "UPDATE github_repositories SET failure = 'no answer'",
    (
        "experiments",
        "unmeasured_variants_claim_nothing",
    ): "UPDATE variant_performance SET impressions = 0, successes = 0",
    ("experiments", "observations_counted_once"): "UPDATE variant_performance SET impressions = 200",
    ("verdicts", "verdict_from_frozen_plan"): "UPDATE experiment_verdicts SET plan_hash = 'another'",
    ("verdicts", "sample_ratio_as_planned"): "UPDATE experiment_verdicts SET srm_p = 0.0009",
    ("verdicts", "no_decision_below_the_minimum_sample"): "UPDATE experiment_verdicts SET smallest = 49",
    ("verdicts", "no_verdict_from_stale_data"): "UPDATE experiment_verdicts SET stale = true",
    ("verdicts", "no_peeking_without_sequential"): "UPDATE experiment_verdicts SET smallest = 99",
    ("verdicts", "every_running_experiment_is_healthy"): "UPDATE experiment_verdicts SET verdict = 'unhealthy'",
    ("metrics", "no_daily_figure_is_negative"): "UPDATE dashboard_metrics_daily SET n = -1 WHERE metric = 'posts'",
    ("metrics", "today_equals_the_tables"): """
        INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'now', ''); DELETE FROM metric_deltas""",
}


def _all_checks() -> dict[tuple[str, str], str]:
    nouns = (
        "effects",
        "posts",
        "emotions",
        "engagement",
        "achievements",
        "portfolio",
        "pull_requests",
        "embeddings",
        "themes",
        "experiments",
        "verdicts",
        "hooks",
        "metrics",
    )
    return {
        (noun, name): statement
        for noun in nouns
        for name, statement in importlib.import_module(f"assets.{noun}").CHECKS.items()
    }


def _run(connection: Connection, noun: str) -> dict[str, Any]:
    statements: dict[str, str] = importlib.import_module(f"assets.{noun}").CHECKS
    used = {name: value for name, value in RUN.items() if any(f":{name}" in one for one in statements.values())}
    return checks.run(connection, statements, used)


@pytest.fixture
def seeded(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        for statement in SEED.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        yield connection


def test_every_check_has_a_way_to_break_it() -> None:
    assert set(BREAKS) == set(_all_checks())


def test_sound_tables_pass_every_check(seeded: Connection) -> None:
    for noun in {noun for noun, _ in BREAKS}:
        for name, found in _run(seeded, noun).items():
            assert found.passed, (noun, name, found)


@pytest.mark.parametrize(("noun", "name"), BREAKS, ids=lambda value: value)
def test_a_broken_table_is_seen(seeded: Connection, noun: str, name: str) -> None:
    for statement in BREAKS[noun, name].split(";"):
        seeded.exec_driver_sql(statement)
    found = _run(seeded, noun)[name]
    assert not found.passed
    assert found.count >= 1
    assert found.samples


def test_all_checks_of_an_asset_are_one_statement(seeded: Connection, engine: Engine) -> None:
    from sqlalchemy import event

    statements: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    _run(seeded, "emotions")
    event.remove(engine, "before_cursor_execute", count)
    assert len(statements) == 1


def test_samples_are_few_and_named(engine: Engine) -> None:
    with engine.connect() as connection:
        found = checks.run(connection, {"never": "SELECT generate_series(1, 9)"}, {})["never"]
    assert (found.count, len(found.samples)) == (9, checks.SAMPLES)


def test_a_check_statement_sees_only_its_parameters(engine: Engine) -> None:
    with engine.connect() as connection:
        found = checks.run(connection, {"bound": "SELECT 1 WHERE :run_id = 'x'' OR true --'"}, {"run_id": "safe"})
        assert found["bound"].passed
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
