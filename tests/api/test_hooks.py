"""/api/v1/hooks: what the hook model said, and how that came true, as the tables have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

SEED = """
INSERT INTO experiments (id, name) VALUES ('e', 'e'), ('f', 'f');
INSERT INTO variants (variant_id, experiment_id, hook) VALUES ('a', 'e', 'A'), ('b', 'e', 'B'), ('c', 'f', 'C');
INSERT INTO hook_predictions (variant_id, experiment_id, predicted_logit, predicted_sd, predicted_rank, sample,
    model_version, content_hash, run_id)
SELECT variant_id, experiment_id, 0.25, 0.5, 1, 'unseen', 'm@1', 'h', 'run-1' FROM variants;
INSERT INTO hook_calibration (sample, counted, chance_from, chance_to, experiments, pairs, mean_chance, expected_right,
    share_right, brier, log_loss, model_version)
SELECT sample, 'all', 0.5, 1, 2, 3, 0.6, 0.58, 0.7, 0.2, 0.6, 'm@1' FROM unnest(ARRAY['in sample', 'unseen']) AS sample
"""


@pytest.fixture
def prompts(open_app: Callable[..., TestClient], engine: Engine) -> TestClient:
    with engine.begin() as connection:
        for statement in SEED.split(";"):
            connection.execute(text(statement))
    return open_app("prompts", "viewer")


def test_predictions_are_listed_for_one_experiment_or_all(prompts: TestClient) -> None:
    path = "/api/v1/hooks/predictions"
    shown = prompts.get(f"{path}?experiment_id=e").json()["items"]
    assert [(one["variant_id"], one["predicted_logit"], one["sample"]) for one in shown] == [
        ("a", 0.25, "unseen"),
        ("b", 0.25, "unseen"),
    ]
    assert shown[0]["run_id"] == "run-1"
    first = prompts.get(f"{path}?per_page=2").json()
    rest = prompts.get(f"{path}?per_page=2&cursor={first['next']}").json()
    assert [one["variant_id"] for one in first["items"] + rest["items"]] == ["a", "b", "c"]


def test_calibration_begins_with_what_was_not_seen_and_has_no_invented_interval(prompts: TestClient) -> None:
    shown = prompts.get("/api/v1/hooks/calibration").json()
    assert [one["sample"] for one in shown] == ["unseen", "in sample"]
    assert (shown[0]["share_right"], shown[0]["share_low"], shown[0]["experiments"]) == (0.7, None, 2)


def test_a_key_is_needed(open_app: Callable[..., TestClient]) -> None:
    anybody = open_app("prompts", None)
    for path in ("predictions", "calibration"):
        assert anybody.get(f"/api/v1/hooks/{path}").status_code == 401
