from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threads_agent_dagster.domain.hooks import text_key
from threads_agent_dagster.training.hooks import (
    Experiments,
    accuracy,
    all_pairs,
    evidence_on,
    fit_on,
    fold_of_text,
    fold_weights,
    folds,
    nested_scores,
    out_of_fold,
    outcomes,
    read_experiments,
)

COLUMNS = "experiment_id,headline,impressions,clicks,lede,test_week\n"


@pytest.fixture
def simulated() -> tuple[np.ndarray, Experiments]:
    """200 experiments of 4 hooks, one of whose 3 columns moves the click rate."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(800, 3))
    experiment = np.repeat(np.arange(200), 4)
    odds = -4 + rng.normal(size=200)[experiment] + 0.5 * rows[:, 0]
    clicks = rng.binomial(4000, 1 / (1 + np.exp(-odds))).astype(float)
    names = [f"group {number}" for number in range(200)]
    return rows, Experiments([], [], np.full(800, 4000.0), clicks, experiment, experiment, names)


def test_experiments_that_share_a_text_directly_or_through_others_are_one_group(tmp_path: Path) -> None:
    path = tmp_path / "experiments.csv"
    rows = ["a,One,9,1,x,1", "a,Two,9,1,x,1", "b,two ,9,1,y,1", "c,Three,9,1,Y,1", "d,Four,9,1,,1", "e,Five,9,1,,1"]
    path.write_text(COLUMNS + "\n".join(rows) + "\n")
    data = read_experiments(path)
    assert len(set(data.group[:4])) == 1
    assert len(set(data.group)) == 3
    assert data.group_names[data.group[3]] == "a"


def test_folds_cover_every_entry_once_and_never_split_a_group(simulated: tuple[np.ndarray, Experiments]) -> None:
    _, data = simulated
    times = np.zeros(800)
    for seen, unseen in folds(data, np.ones(800, dtype=np.bool_)):
        assert not set(data.group[seen]) & set(data.group[unseen])
        times += unseen
    assert (times == 1).all()


def test_every_text_lies_in_one_fold_whose_weights_never_saw_it(tmp_path: Path) -> None:
    path = tmp_path / "experiments.csv"
    rows = [f"e{n},Hook {n}.{arm},1000,{10 + arm},Lede {n},1" for n in range(40) for arm in range(2)]
    path.write_text(COLUMNS + "\n".join(rows) + "\n")
    data = read_experiments(path)
    keys, of = fold_of_text(data)
    assert (np.diff(keys.astype(object)) > 0).all()
    assert len(keys) == 80 + 40
    known = dict(zip(map(int, keys), map(int, of), strict=True))
    share = data.share("fold")
    for hook, body, fold in zip(data.hooks, data.bodies, share, strict=True):
        assert known[text_key("headline", f" {hook.upper()}")] == known[text_key("lede", body)] == fold
    columns = np.random.default_rng(5).normal(size=(80, 3))
    weights = fold_weights(columns, data, np.full(3, 1.0))
    columns[share == 2] += 9  # what a fold holds moves all weights but its own
    moved = fold_weights(columns, data, np.full(3, 1.0))
    assert np.array_equal(weights[2], moved[2])
    assert not np.array_equal(weights[1], moved[1])


def test_the_fit_finds_what_moves_clicks_and_not_what_moves_audiences(
    simulated: tuple[np.ndarray, Experiments],
) -> None:
    rows, data = simulated
    fitted = fit_on(rows, data, np.ones(800, dtype=np.bool_), np.full(3, 10.0))
    assert fitted.weights == pytest.approx([0.5, 0, 0], abs=0.05)
    errors = np.sqrt(np.square(fitted.spread).sum(axis=1))
    assert (np.abs(fitted.weights - [0.5, 0, 0]) < 4 * errors).all()


def test_held_out_accuracy_is_high_on_signal_and_even_on_noise(simulated: tuple[np.ndarray, Experiments]) -> None:
    rows, data = simulated
    pairs, every = all_pairs(data), np.ones(800, dtype=np.bool_)
    signal = accuracy(out_of_fold(rows, data, every, np.full(3, 1.0)), pairs, data.group, 1.96)
    noise = accuracy(np.random.default_rng(2).normal(size=800), pairs, data.group, 1.96)
    assert signal["low"] > 0.9
    assert noise["low"] < 0.5 < noise["high"]
    assert signal["low"] < signal["share"] < signal["high"]


def test_nested_scores_know_nothing_of_the_outcomes_of_their_fifth(
    simulated: tuple[np.ndarray, Experiments],
) -> None:
    rows, data = simulated
    offered = [np.array(variances) for variances in ((1.0, 0, 0), (0, 1.0, 1.0))]
    scores, chosen = nested_scores(rows, data, offered)
    assert chosen == [0] * 5
    assert accuracy(scores, all_pairs(data), data.group, 1.96)["low"] > 0.9
    fifth = data.share("outer 0") == 3
    turned = replace(data, clicks=np.where(fifth, data.clicks[::-1], data.clicks))
    others, _ = nested_scores(rows, turned, offered)
    assert np.array_equal(others[fifth], scores[fifth])
    assert not np.array_equal(others[~fifth], scores[~fifth])


def test_evidence_of_whole_experiments_adds_up_to_the_fit(simulated: tuple[np.ndarray, Experiments]) -> None:
    rows, data = simulated
    fold, every, prior = data.share("fold"), np.ones(800, dtype=np.bool_), np.array([0.1, 1.0, 2.0])
    told = evidence_on(rows, data, fold < 2) + evidence_on(rows, data, fold >= 2)
    assert told.weights(prior) == pytest.approx(fit_on(rows, data, every, prior).weights)
    assert told.weights(np.array([0.1, 0.0, 2.0]))[1] == 0


def test_no_clicks_are_a_finite_outcome() -> None:
    shown = np.array([100.0, 100.0])
    data = Experiments([], [], shown, np.zeros(2), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), ["a"])
    assert np.isfinite(outcomes(data).logit).all()
    assert all_pairs(data).z.tolist() == [0.0]
