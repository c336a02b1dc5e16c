"""Make the packaged emotion models from GoEmotions (figures and reasons in docs/emotions.md).

python -m threads_agent_dagster.training.emotions GOEMOTIONS_FOLDER STEP

STEP is encoder, linear, fast, accurate (in this order: each needs the files of those before), `meanings` (writes anew
what the encoder's labels mean, without training it), `compare` or `report SCORER`.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.emotions import EMOTIONS, Floats, Scorer, load_scorer
from threads_agent_dagster.domain.scorers import (
    OUTPUTS,
    LinearModel,
    Model,
    Polarity,
    load_arrays,
    load_encoder,
    load_linear,
    load_tokenizer,
    single_words,
    words_and_pairs,
)
from threads_agent_dagster.domain.social_text import in_plain_words
from threads_agent_dagster.training import encoder

MODELS: Final = Path(__file__).parents[1] / "models"
MIN_TEXTS = 3  # a feature in fewer texts says more about those texts than about people
REGULARIZATION = 3.0
TAUGHT_TEXTS = 26_000  # of the training texts, on which the linear model also learns what the encoder says of them
TAUGHT_REGULARIZATION = 1.0
WORD_WEIGHT = 2.0  # of what the encoder says of a word alone: in a text of n features it counts 1/sqrt(n) of that
WORD_WORTH = 30.0  # texts with a word, from which on they say more of it than the encoder does
SUREST = 8.0  # of the encoder's logits; a surer one says nothing more

# Which of GoEmotions' labels mean which output; argued label by label in docs/emotions.md.
MEANING: Final[dict[str, str]] = {
    "joy": "joy amusement excitement love optimism pride relief gratitude",
    "anger": "anger annoyance disapproval",
    "fear": "fear nervousness",
    "sadness": "sadness grief disappointment remorse embarrassment",
    "surprise": "surprise realization confusion",
    "disgust": "disgust",
    "anticipation": "optimism desire excitement curiosity",
    "trust": "admiration approval caring gratitude love",
    "positive": "admiration amusement approval caring desire excitement gratitude joy love optimism pride relief",
    "negative": "anger annoyance disappointment disapproval disgust embarrassment fear grief nervousness remorse"
    " sadness",
}

# How much of an output a label is that means it only in part; targets are those of MEANING. Argued in docs/emotions.md.
PARTLY: Final[dict[tuple[str, str], float]] = {
    ("confusion", "surprise"): 0.3,
    ("realization", "surprise"): 0.5,
    ("optimism", "trust"): 0.5,
}

# How good a label feels, -4 to 4: what people said of the label's own name for VADER's lexicon. Four names are not in
# it (curiosity, disapproval, realization, neutral), and a surprise in GoEmotions is milder than a pleasant one.
VALENCE: Final[dict[str, float]] = {
    "admiration": 2.5, "amusement": 1.5, "anger": -2.7, "annoyance": -1.3, "approval": 2.1, "caring": 2.2,
    "confusion": -1.2, "curiosity": 0.5, "desire": 1.7, "disappointment": -2.3, "disapproval": -1.8, "disgust": -2.9,
    "embarrassment": -1.9, "excitement": 2.2, "fear": -2.2, "gratitude": 2.3, "grief": -2.2, "joy": 2.8, "love": 3.2,
    "nervousness": -1.2, "optimism": 2.5, "pride": 1.4, "realization": 0.0, "relief": 2.1, "remorse": -1.1,
    "sadness": -1.9, "surprise": 0.5, "neutral": 0.0,
}  # fmt: skip
STRONGEST: Final = 4.0

# Which way an output goes with VADER's compound.
VADER_SIGN: Final[dict[str, int]] = {
    "joy": 1, "anger": -1, "fear": -1, "sadness": -1, "surprise": 0, "disgust": -1, "anticipation": 1, "trust": 1,
    "positive": 1, "negative": -1,
}  # fmt: skip
ANGER_IN_DISGUST = 0.5  # people who are asked call much of what angers them disgusting too


@dataclass(frozen=True)
class Split:
    """Texts as written and their 28 labels, one row of 0 and 1 per text."""

    texts: list[str]
    labels: NDArray[np.float32]

    def plain(self) -> list[str]:
        return [in_plain_words(text) for text in self.texts]


def label_names(folder: Path) -> list[str]:
    return (folder / "labels.txt").read_text(encoding="utf-8").split()


def read_split(folder: Path, name: str) -> Split:
    lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
    labels = np.zeros((len(lines), len(label_names(folder))), dtype=np.float32)
    for row, (_, ids, _) in enumerate(lines):
        labels[row, [int(label) for label in ids.split(",")]] = 1
    return Split([text for text, _, _ in lines], labels)


def members(folder: Path) -> NDArray[np.float32]:
    """One row per label, one column per output; 1 where the label means the output."""
    names = label_names(folder)
    return np.array([[name in MEANING[output].split() for output in OUTPUTS] for name in names], dtype=np.float32)


def weights(folder: Path) -> NDArray[np.float32]:
    """As `members`, with the labels that mean an output only in part."""
    names, found = label_names(folder), members(folder)
    for (label, output), share in PARTLY.items():
        found[names.index(label), OUTPUTS.index(output)] = share
    return found


def valences(folder: Path) -> NDArray[np.float32]:
    """The valence of each label, -1 to 1."""
    return np.array([VALENCE[name] / STRONGEST for name in label_names(folder)], dtype=np.float32)


def targets(split: Split, membership: NDArray[np.float32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = split.labels @ membership > 0
    return found


def fit_linear(split: Split, membership: NDArray[np.float32], teacher: Model, words: Sequence[str]) -> LinearModel:
    """Over the words and pairs of words that enough texts have: what people labelled, and what the teacher says.

    The mean of two linear models is one: a logistic regression on the labels, which knows what people said, and a
    ridge regression on the teacher's logits, which are finer than labels. Of `words` that the texts have seldom or
    never, the teacher is asked one by one.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    plain = split.plain()
    counter = CountVectorizer(analyzer=words_and_pairs, min_df=MIN_TEXTS)
    scaled = _scaled_by_length(counter.fit_transform(plain).astype(np.float64).tocsr())
    fits = [
        LogisticRegression(C=REGULARIZATION, solver="liblinear", random_state=0).fit(scaled, wanted)
        for wanted in targets(split, membership).T
    ]
    said = np.clip(teacher(plain[:TAUGHT_TEXTS]).logits, -SUREST, SUREST)
    taught = Ridge(TAUGHT_REGULARIZATION, solver="sparse_cg", tol=1e-6).fit(scaled[:TAUGHT_TEXTS], said)
    weights = (np.vstack([fit.coef_[0] for fit in fits]) + taught.coef_).T.astype(np.float32) / 2
    bias = (np.array([fit.intercept_[0] for fit in fits]) + taught.intercept_).astype(np.float32) / 2
    fitted = dict(zip(map(str, counter.get_feature_names_out()), weights, strict=True))
    texts_with = Counter(itertools.chain.from_iterable(set(single_words(text)) for text in plain))
    known = fitted | _taught_words(words, teacher, fitted, texts_with)
    rows = {feature: row for row, feature in enumerate(known, start=1)}
    return LinearModel(rows, np.vstack([np.zeros_like(weights[:1]), *known.values()]), bias)


def _taught_words(
    words: Sequence[str], teacher: Model, fitted: Mapping[str, NDArray[np.float32]], texts_with: Counter[str]
) -> dict[str, NDArray[np.float32]]:
    """Weights of single words: what the teacher says of each beyond the median word, as if WORD_WORTH texts said it."""
    said = np.clip(teacher(words).logits, -SUREST, SUREST)
    taught = (WORD_WEIGHT * (said - np.median(said, axis=0))).astype(np.float32)
    found = {}
    for word, own in zip(words, taught, strict=True):
        share = np.float32(WORD_WORTH / (WORD_WORTH + texts_with[word]))
        found[word] = share * own + (1 - share) * fitted[word] if word in fitted else own
    return found


def listed_words() -> list[str]:
    """The words of MiniLM's own list and of VADER's, of three letters or more."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    listed = {*load_tokenizer().get_vocab(), *SentimentIntensityAnalyzer().lexicon}
    return sorted(word for word in listed if word.isascii() and word.isalpha() and word.islower() and len(word) > 2)


def _scaled_by_length(counts: Any) -> Any:
    """As LinearModel does it: each text's sum over the root of its number of known features."""
    from scipy.sparse import diags

    return diags(1 / np.sqrt(np.maximum(counts.sum(axis=1).A1, 1))) @ counts


def save_linear(model: LinearModel, path: Path) -> None:
    features = np.frombuffer("\n".join(model.rows).encode(), dtype=np.uint8)
    np.savez(path, features=features, weights=model.weights[1:], bias=model.bias)


def features(split: Split, models: Sequence[Model]) -> Floats:
    """Shape: one row per text; the models' logits side by side, then VADER's compound."""
    plain = split.plain()
    return np.column_stack([*(model(plain).logits for model in models), Polarity()(split.texts)[:, -1]])


def blend(models: int) -> Floats:
    """From features to uncalibrated logits: the models' mean, shifted by VADER's compound towards its sign.

    The weight of VADER is not fitted: on GoEmotions it is nearly indifferent, on other texts it is what transfers.
    """
    own = np.eye(len(OUTPUTS))
    own[OUTPUTS.index("anger"), OUTPUTS.index("disgust")] = ANGER_IN_DISGUST
    return np.vstack([*[own / models] * models, [VADER_SIGN[output] for output in OUTPUTS]])


def calibrate(found: Floats, wanted: NDArray[np.bool_], blended: Floats) -> tuple[Floats, Floats]:
    """Mix and offset whose logits are the chances of the wanted outputs (Platt scaling on held-out texts)."""
    from sklearn.linear_model import LogisticRegression

    logits = found @ blended
    fits = [LogisticRegression(C=1e6).fit(logits[:, [column]], wanted[:, column]) for column in range(len(OUTPUTS))]
    slopes = np.array([fit.coef_[0, 0] for fit in fits])
    return blended * slopes, np.array([fit.intercept_[0] for fit in fits])


def calibration_error(chances: Floats, wanted: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass."""
    order = np.argsort(chances, kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(len(part) * abs(chances[part].mean() - wanted[part].mean()) for part in parts) / len(order))


def save_mixing(folder: Path, name: str, models: Sequence[Model]) -> None:
    dev = read_split(folder, "dev")
    mix, offset = calibrate(features(dev, models), targets(dev, members(folder)), blend(len(models)))
    np.savez(MODELS / f"emotions-{name}.npz", mix=mix, offset=offset)


def report(folder: Path, scorer: Scorer) -> None:
    """Print AUC and calibration error per emotion on GoEmotions' test split."""
    from sklearn.metrics import roc_auc_score

    test = read_split(folder, "test")
    wanted = targets(test, members(folder))
    chances = np.nan_to_num(scorer.score(test.texts).emotions)
    areas = [roc_auc_score(wanted[:, column], chances[:, column]) for column in range(len(EMOTIONS))]
    for column, emotion in enumerate(EMOTIONS):
        error = calibration_error(chances[:, column], wanted[:, column])
        sys.stdout.write(f"{scorer.version}\t{emotion}\t{areas[column]:.3f}\t{error:.4f}\n")
    sys.stdout.write(f"{scorer.version}\tmean\t{np.mean(areas):.4f}\n")


def compare(folder: Path, encoder_model: Model, linear: Model) -> None:
    """Print what each part and each mixture reaches on the dev split, as mean AUC over the eight emotions."""
    from sklearn.metrics import roc_auc_score

    dev = read_split(folder, "dev")
    wanted, plain = targets(dev, members(folder)), dev.plain()
    sign = np.array([VADER_SIGN[output] for output in OUTPUTS])
    vader = Polarity()(dev.texts)[:, -1:] * sign
    deep, flat = encoder_model(plain).logits, linear(plain).logits
    candidates = {
        "VADER's compound by its sign": vader,
        "linear": flat,
        "linear + VADER": flat + vader,
        "MiniLM": deep,
        "MiniLM + VADER": deep + vader,
        "mean of MiniLM and linear": (deep + flat) / 2,
        "mean of MiniLM and linear, + VADER": (deep + flat) / 2 + vader,
    }
    for name, found in candidates.items():
        areas = [roc_auc_score(wanted[:, column], found[:, column]) for column in range(len(EMOTIONS))]
        sys.stdout.write(f"{name}\tdev\t{np.mean(areas):.4f}\n")


def meanings(folder: Path) -> dict[str, NDArray[np.float32]]:
    """What the encoder's labels mean, as its file holds it."""
    return {"members": weights(folder), "valences": valences(folder)}


def save_meanings(folder: Path) -> None:
    arrays: dict[str, Any] = load_arrays("emotions-encoder.npz") | meanings(folder)
    np.savez(MODELS / "emotions-encoder.npz", **arrays)


def save_encoder(folder: Path) -> None:
    train = read_split(folder, "train")
    trained = encoder.train(train.plain(), train.labels)
    head, bias = np.asarray(trained["W"]), np.asarray(trained["b"])
    arrays: dict[str, Any] = {"head": head, "bias": bias} | meanings(folder) | encoder.patch(trained)
    np.savez(MODELS / "emotions-encoder.npz", **arrays)


def one_thread() -> AbstractContextManager[object]:
    """While it is open, sums are made in one order, however many cores there are: the same bytes come out."""
    import sklearn.linear_model  # noqa: F401  (only libraries that are loaded already are limited)
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")  # JAX's
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits


def main(arguments: Sequence[str]) -> None:
    with one_thread():
        run(Path(arguments[0]), arguments[1], arguments[2:])


def run(folder: Path, step: str, arguments: Sequence[str]) -> None:
    if step == "linear":
        model = fit_linear(read_split(folder, "train"), members(folder), load_encoder(), listed_words())
        save_linear(model, MODELS / "emotions-linear.npz")
    elif step == "encoder":
        save_encoder(folder)
    elif step == "meanings":
        save_meanings(folder)
    elif step == "fast":
        save_mixing(folder, "fast", [load_linear()])
    elif step == "accurate":
        save_mixing(folder, "accurate", [load_encoder(), load_linear()])
    elif step == "compare":
        compare(folder, load_encoder(), load_linear())
    elif step == "report":
        report(folder, load_scorer(arguments[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
