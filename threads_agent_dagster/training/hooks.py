"""Make the packaged hook model from the Upworthy Research Archive (figures and reasons in docs/hooks.md).

    python -m threads_agent_dagster.training.hooks EXPERIMENTS_CSV [compare | nested]

Prints JSON: accuracy by cross-validation on the development part, on which everything was chosen, and on the locked
part. `compare` prints the candidates, `nested` the accuracy of the way of making the model, its choice of prior
variances included, on all experiments; both leave the packaged model alone.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.hook_features import FEATURES, QUICK
from threads_agent_dagster.domain.hooks import BLOCKS, FIT, MEANING, WORDING, Description, HookModel, describe, text_key

MODEL: Final = Path(__file__).parents[1] / "models" / "hooks.npz"
VERSION = "upworthy-minilm@1"
FOLDS = 5
SIGNIFICANT = 1.96
RESAMPLES = 2000

# Chosen by cross-validation on the development part; the locked part was not looked at.
PRIOR_VARIANCES: Final[Mapping[str, float]] = {"features": 3.1e-5, MEANING: 0.01, WORDING: 0.012, FIT: 1.2}
SPREAD_BETWEEN_HOOKS = 0.06  # variance of log-odds within an experiment that the fit leaves to the hooks themselves
PSEUDO_IMPRESSIONS = 10.0  # at the experiment's rate, so that no clicks is not minus infinity

# What `nested` chooses from, block by block in the order of BLOCKS; 0 leaves a block out.
OFFERED_VARIANCES: Final = ((0, 1e-5, 1e-4), (0, 3e-3, 3e-2), (0, 3e-3, 3e-2), (0, 0.3, 3))
CUTS = 4  # ways to cut the groups into folds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Experiments:
    """One entry per headline shown. `experiment` and `group` count from 0; a group shares no text with another."""

    hooks: Sequence[str]
    bodies: Sequence[str]
    impressions: Floats
    clicks: Floats
    experiment: Ints
    group: Ints
    group_names: Sequence[str]

    def share(self, purpose: str) -> Ints:
        """A fifth (0 to 4) for every entry, the same for a whole group and on every machine."""
        of_group = [int(hashlib.sha256(f"{purpose}:{name}".encode()).hexdigest(), 16) % 5 for name in self.group_names]
        return np.array(of_group, dtype=np.int64)[self.group]


def read_experiments(path: Path) -> Experiments:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names, experiment = np.unique([row["experiment_id"] for row in rows], return_inverse=True)
    group = _connected(rows, experiment)
    first: dict[int, str] = {}
    for index, name in zip(group, names[experiment], strict=True):
        first[int(index)] = min(first.get(int(index), str(name)), str(name))
    return Experiments(
        hooks=[row["headline"] for row in rows],
        bodies=[row["lede"] for row in rows],
        impressions=np.array([float(row["impressions"]) for row in rows]),
        clicks=np.array([float(row["clicks"]) for row in rows]),
        experiment=experiment,
        group=group,
        group_names=[first[index] for index in range(len(first))],
    )


def _connected(rows: Sequence[Mapping[str, str]], experiment: Ints) -> Ints:
    """Experiments that share a headline or a lede, directly or through others, fall into one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[str, str], int] = {}
    edges = [
        (index, nodes.setdefault((column, text), len(nodes)))
        for row, index in zip(rows, experiment, strict=True)
        for column in ("headline", "lede")
        if (text := row[column].strip().lower())
    ]
    count = int(experiment.max()) + 1
    left, right = np.array(edges).T
    graph = coo_array((np.ones(len(edges)), (left, right + count)), shape=(count + len(nodes),) * 2)
    _, label = connected_components(graph, directed=False)
    group: Ints = np.unique(label[experiment], return_inverse=True)[1]
    return group


@dataclass(frozen=True)
class Outcomes:
    """Log-odds of a click against the experiment's mean rate, and their sampling variances."""

    logit: Floats
    variance: Floats


def outcomes(data: Experiments) -> Outcomes:
    clicks, impressions = (np.bincount(data.experiment, x)[data.experiment] for x in (data.clicks, data.impressions))
    rate = (clicks + 1) / (impressions + 70)  # one click in 70: the archive's mean rate, where an experiment has none
    own = (data.clicks + PSEUDO_IMPRESSIONS * rate) / (data.impressions + PSEUDO_IMPRESSIONS)
    logit = np.log(own / (1 - own)) - np.log(rate / (1 - rate))
    return Outcomes(logit, 1 / (data.impressions * rate * (1 - rate)))


@dataclass(frozen=True)
class Fit:
    weights: Floats
    spread: Floats


def fit(rows: Floats, seen: Outcomes, experiment: Ints, prior_variances: Floats) -> Fit:
    """Ridge regression of differences within experiments, each entry weighted by what it tells."""
    from scipy.linalg import cholesky, solve_triangular

    told = _evidence(rows, seen, experiment)
    precision = told.precision + np.diag(1 / prior_variances)
    spread = solve_triangular(cholesky(precision, lower=True), np.eye(len(precision)), lower=True).T
    return Fit(spread @ (spread.T @ told.moment), spread)


@dataclass(frozen=True)
class Evidence:
    """What outcomes say of the weights; of experiments apart it adds up. Shapes: precision (d, d), moment (d)."""

    precision: Floats
    moment: Floats

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.precision + other.precision, self.moment + other.moment)

    def weights(self, prior_variances: Floats) -> Floats:
        """The posterior's mean; a column without variance keeps the weight 0."""
        from scipy.linalg import solve

        free = prior_variances > 0
        precision = self.precision[np.ix_(free, free)] + np.diag(1 / prior_variances[free])
        weights = np.zeros(len(free))
        weights[free] = solve(precision, self.moment[free], assume_a="pos")
        return weights


def _evidence(rows: Floats, seen: Outcomes, experiment: Ints) -> Evidence:
    weight = 1 / (seen.variance + SPREAD_BETWEEN_HOOKS)
    x = _within(rows, weight, experiment)
    y = _within(seen.logit[:, None], weight, experiment)[:, 0]
    return Evidence(x.T @ (x * weight[:, None]), x.T @ (weight * y))


def _within(rows: Floats, weight: Floats, experiment: Ints) -> Floats:
    total = np.bincount(experiment, weight)
    sums = np.zeros((len(total), rows.shape[1]))
    np.add.at(sums, experiment, rows * weight[:, None])
    return rows - (sums[experiment] / total[experiment, None])


@dataclass(frozen=True)
class Pairs:
    """Two entries of one experiment each, and the z of their difference in click rate."""

    first: Ints
    second: Ints
    z: Floats


def all_pairs(data: Experiments) -> Pairs:
    order = np.argsort(data.experiment, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(data.experiment))[:-1])
    first, second = np.array([pair for ids in members for pair in combinations(ids, 2)]).T
    shown, clicks = data.impressions, data.clicks
    rate = (clicks[first] + clicks[second]) / (shown[first] + shown[second])
    error = np.sqrt(rate * (1 - rate) * (1 / shown[first] + 1 / shown[second]))
    gap = clicks[first] / shown[first] - clicks[second] / shown[second]
    return Pairs(first, second, np.divide(gap, error, out=np.zeros_like(gap), where=error > 0))


def accuracy(scores: Floats, pairs: Pairs, group: Ints, beyond: float) -> dict[str, float]:
    """Share of pairs with |z| > beyond whose winner scores higher (a tie counts half), resampled by group."""
    known = (np.abs(pairs.z) > beyond) & np.isfinite(scores[pairs.first])
    gap = (scores[pairs.first] - scores[pairs.second])[known]
    right = np.where(gap == 0, 0.5, gap * pairs.z[known] > 0)
    _, member = np.unique(group[pairs.first][known], return_inverse=True)
    hits, sizes = np.bincount(member, right), np.bincount(member)
    draws = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    low, high = np.quantile((draws @ hits) / (draws @ sizes), [0.025, 0.975])
    return {"share": round(right.mean(), 4), "low": round(low, 4), "high": round(high, 4), "pairs": len(right)}


def report(scores: Floats, pairs: Pairs, data: Experiments) -> dict[str, dict[str, float]]:
    return {
        name: accuracy(scores, pairs, data.group, beyond)
        for name, beyond in (("significant", SIGNIFICANT), ("all", 0.0), ("|z| > 3", 3.0))
    }


def folds(data: Experiments, part: Mask) -> Iterator[tuple[Mask, Mask]]:
    """Training and test masks; groups stay whole."""
    fold = data.share("fold")
    for held_out in range(FOLDS):
        yield part & (fold != held_out), part & (fold == held_out)


def out_of_fold(rows: Floats, data: Experiments, part: Mask, prior_variances: Floats) -> Floats:
    """Scores from models that saw no text of the scored entry's group; NaN outside `part`."""
    scores = np.full(len(rows), np.nan)
    for seen, unseen in folds(data, part):
        scores[unseen] = rows[unseen] @ fit_on(rows, data, seen, prior_variances).weights
    return scores


def fold_weights(rows: Floats, data: Experiments, prior_variances: Floats) -> Floats:
    """Shape: (folds, columns). Each was fitted without its own fold, so that old experiments can be judged too."""
    every = np.ones(len(rows), dtype=np.bool_)
    return np.array([fit_on(rows, data, seen, prior_variances).weights for seen, _ in folds(data, every)])


def fold_of_text(data: Experiments) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The keys of all texts, ascending, and the fold of each; a text lies in one group, and so in one fold."""
    columns = (("headline", data.hooks), ("lede", data.bodies))
    fold = data.share("fold")
    found = {
        text_key(column, text): int(of)
        for column, texts in columns
        for text, of in zip(texts, fold, strict=True)
        if text.strip()
    }
    keys = sorted(found)
    return np.array(keys, dtype=np.uint64), np.array([found[key] for key in keys], dtype=np.uint8)


def fit_on(rows: Floats, data: Experiments, part: Mask, prior_variances: Floats) -> Fit:
    return fit(*_part(rows, data, part), prior_variances)


def evidence_on(rows: Floats, data: Experiments, part: Mask) -> Evidence:
    return _evidence(*_part(rows, data, part))


def _part(rows: Floats, data: Experiments, part: Mask) -> tuple[Floats, Outcomes, Ints]:
    every = outcomes(data)
    seen = Outcomes(every.logit[part], every.variance[part])
    return rows[part], seen, np.unique(data.experiment[part], return_inverse=True)[1]


def residual_variance(scores: Floats, pairs: Pairs, seen: Outcomes) -> float:
    """What out-of-fold scores leave of the true log-odds' variance, by moments over all scored pairs."""
    known = np.isfinite(scores[pairs.first])
    first, second = pairs.first[known], pairs.second[known]
    error = seen.logit[first] - seen.logit[second] - (scores[first] - scores[second])
    sampling = seen.variance[first] + seen.variance[second]
    weight = 1 / np.square(sampling + 2 * SPREAD_BETWEEN_HOOKS)
    return float(np.average((np.square(error) - sampling) / 2, weights=weight))


def slope(scores: Floats, pairs: Pairs, seen: Outcomes) -> float:
    """Measured differences in log-odds per predicted one; 1 means that predictions can be taken at their word."""
    known = np.isfinite(scores[pairs.first])
    first, second = pairs.first[known], pairs.second[known]
    predicted, measured = scores[first] - scores[second], seen.logit[first] - seen.logit[second]
    weight = 1 / (seen.variance[first] + seen.variance[second] + 2 * SPREAD_BETWEEN_HOOKS)
    return float((weight * predicted) @ measured / ((weight * predicted) @ predicted))


def untrained(described: Description, residual_sd: float) -> HookModel:
    """Scales the inputs; no outcome enters, and the weights are zero."""
    width = sum(BLOCKS.values())
    return HookModel(
        version=VERSION,
        center=np.nanmean(described.features, axis=0),
        scale=np.nanstd(described.features, axis=0),
        body=described.body[described.has_body].mean(axis=0, dtype=np.float64),
        weights=np.zeros(width),
        spread=np.zeros((width, width), dtype=np.float32),
        residual_sd=residual_sd,
        texts=np.empty(0, dtype=np.uint64),
        text_folds=np.empty(0, dtype=np.uint8),
        fold_weights=np.zeros((FOLDS, width)),
    )


def per_column(prior_variances: Mapping[str, float]) -> Floats:
    return _per_column([prior_variances.get(name, 0.0) for name in BLOCKS])


def candidates(rows: Floats, hooks: Sequence[str]) -> Iterator[tuple[str, Floats, Floats]]:
    """Name, rows and prior variances of what was compared, from the least to the shipped."""
    length = rows[:, [FEATURES.index("length")]]
    yield "length alone", length, np.full(1, 1e-3)
    words = tf_idf(hooks)
    quick = rows[:, : len(QUICK)]
    yield "quick (features without tone)", quick, np.full(len(QUICK), PRIOR_VARIANCES["features"])
    yield "TF-IDF of words and pairs", words, np.full(words.shape[1], 0.025)
    for name, chosen in {
        "features": ["features"],
        "meaning (MiniLM, last layer)": [MEANING],
        "meaning + features": [MEANING, "features"],
        "meaning + features + fit": [MEANING, "features", FIT],
        "meaning + features + fit + wording (shipped)": list(BLOCKS),
    }.items():
        variances = per_column({block: PRIOR_VARIANCES[block] for block in chosen})
        yield name, rows[:, variances > 0], variances[variances > 0]
    shipped = per_column(PRIOR_VARIANCES)
    yield "shipped + TF-IDF", np.hstack([rows, words]), np.r_[shipped, np.full(words.shape[1], 0.004)]


def tf_idf(hooks: Sequence[str]) -> Floats:
    """Shape: (hooks, 400), the strongest directions of a TF-IDF matrix of words and pairs."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    matrix = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"[\w']+|[^\w\s]")  # noqa: S106
    strongest: Floats = TruncatedSVD(400, random_state=0).fit_transform(matrix.fit_transform(hooks))
    return strongest


def evaluate(rows: Floats, data: Experiments) -> tuple[dict[str, Any], float]:
    """The printed figures, and the residual variance on the development part."""
    locked = data.share("hooks") == 0
    pairs, seen = all_pairs(data), outcomes(data)
    variances = per_column(PRIOR_VARIANCES)
    development = out_of_fold(rows, data, ~locked, variances)
    unseen = np.where(locked, rows @ fit_on(rows, data, ~locked, variances).weights, np.nan)
    residual = residual_variance(development, pairs, seen)
    every = out_of_fold(rows, data, np.ones_like(locked), variances)
    parts = {"development, cross-validated": development, "locked": unseen, "all, cross-validated": every}
    figures = {
        part: report(scores, pairs, data) | {"slope": round(slope(scores, pairs, seen), 3)}
        for part, scores in parts.items()
    }
    return figures | {"residual_variance": round(residual, 4)}, residual


def nested(rows: Floats, data: Experiments) -> None:
    """Each cut's figures, and the prior variances that its folds chose."""
    offered = [variances for variances in product(*OFFERED_VARIANCES) if any(variances)]
    pairs = all_pairs(data)
    for cut in range(CUTS):
        scores, chosen = nested_scores(rows, data, [_per_column(variances) for variances in offered], cut)
        _show({"cut": cut, "chosen": [offered[row] for row in chosen]} | report(scores, pairs, data))


def nested_scores(
    rows: Floats, data: Experiments, offered: Sequence[Floats], cut: int = 0
) -> tuple[Floats, Sequence[int]]:
    """Scores of each fifth of the groups by the prior variances that the other four chose; whose they were."""
    outer, inner = data.share(f"outer {cut}"), data.share(f"inner {cut}")
    cells = {(o, i): evidence_on(rows, data, (outer == o) & (inner == i)) for o, i in product(range(FOLDS), repeat=2)}
    pairs, scores, chosen = all_pairs(data), np.full(len(rows), np.nan), []
    for held_out in range(FOLDS):
        seen = [_sum(cells[o, i] for o in range(FOLDS) if o != held_out) for i in range(FOLDS)]
        best = _best(rows, pairs, np.where(outer == held_out, -1, inner), seen, offered)
        scores[outer == held_out] = rows[outer == held_out] @ _sum(seen).weights(offered[best])
        chosen.append(best)
    return scores, chosen


def _best(rows: Floats, pairs: Pairs, fold: Ints, seen: Sequence[Evidence], offered: Sequence[Floats]) -> int:
    """Which offer gets most significant pairs right by cross-validation over `fold`; -1 marks what is not seen."""
    judged = (np.abs(pairs.z) > SIGNIFICANT) & (fold[pairs.first] >= 0)
    first, second, z = pairs.first[judged], pairs.second[judged], pairs.z[judged]
    scores = np.zeros((len(offered), len(rows)))
    for held_out in range(FOLDS):
        others = _sum(told for of, told in enumerate(seen) if of != held_out)
        weights = np.array([others.weights(variances) for variances in offered])
        scores[:, fold == held_out] = weights @ rows[fold == held_out].T
    right = ((scores[:, first] - scores[:, second]) * z > 0).mean(axis=1)
    return int(right.argmax())


def _sum(parts: Iterable[Evidence]) -> Evidence:
    return reduce(Evidence.__add__, parts)


def _per_column(variances: Sequence[float]) -> Floats:
    return np.repeat(np.array(variances, dtype=np.float64), list(BLOCKS.values()))


def compare(rows: Floats, data: Experiments) -> None:
    locked = data.share("hooks") == 0
    pairs = all_pairs(data)
    for name, columns, variances in candidates(rows, data.hooks):
        scores = out_of_fold(columns, data, ~locked, variances)
        unseen = np.where(locked, columns @ fit_on(columns, data, ~locked, variances).weights, np.nan)
        _show({"candidate": name, "development": report(scores, pairs, data), "locked": report(unseen, pairs, data)})


def save(model: HookModel, quick_weights: Floats, path: Path) -> None:
    np.savez_compressed(
        path,
        version=model.version,
        features=np.array(FEATURES),
        center=model.center,
        scale=model.scale,
        body=model.body,
        weights=model.weights,
        spread=model.spread,
        residual_sd=model.residual_sd,
        texts=model.texts,
        text_folds=model.text_folds,
        fold_weights=model.fold_weights,
        quick_weights=quick_weights,
    )


def fit_quickly(rows: Floats, data: Experiments) -> Floats:
    """Shape: (QUICK,). Weights of those features alone, for whoever cannot wait for embeddings."""
    every = np.ones(len(rows), dtype=np.bool_)
    return fit_on(rows[:, : len(QUICK)], data, every, np.full(len(QUICK), PRIOR_VARIANCES["features"])).weights


def make(rows: Floats, data: Experiments, described: Description) -> HookModel:
    """The figures of the parts go to stdout; the model itself is then fitted to all experiments."""
    figures, residual = evaluate(rows, data)
    _show(figures)
    variances = per_column(PRIOR_VARIANCES)
    final = fit_on(rows, data, np.ones(len(rows), dtype=np.bool_), variances)
    texts, text_folds = fold_of_text(data)
    return replace(
        untrained(described, float(np.sqrt(residual))),
        weights=final.weights,
        spread=final.spread.astype(np.float32),
        texts=texts,
        text_folds=text_folds,
        fold_weights=fold_weights(rows, data, variances),
    )


def _show(figures: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    data = read_experiments(Path(arguments[0]))
    described = describe(data.hooks, data.bodies)
    rows = untrained(described, 0.0).design(described)
    if "compare" in arguments[1:]:
        compare(rows, data)
    elif "nested" in arguments[1:]:
        nested(rows, data)
    else:
        save(make(rows, data, described), fit_quickly(rows, data), MODEL)


if __name__ == "__main__":
    main(sys.argv[1:])
