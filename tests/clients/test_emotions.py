"""The language model as a scorer: what it asks, and that no answer is taken for what it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from tests.llm_server import KEY, LLMServer, rate, rating
from threads_agent_dagster.clients.emotions import TEXTS_PER_REQUEST, LlmScorer
from threads_agent_dagster.clients.llm import Completion, LanguageModel, Request
from threads_agent_dagster.domain.emotions import EMOTIONS, trajectories
from threads_agent_dagster.errors import ConfigurationError, PermanentFailure, ThreadsAgentError, Unavailable

MODEL = "a-model"


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer(rate) as server:
        yield server


@pytest.fixture
def scorer(server: LLMServer) -> LlmScorer:
    return LlmScorer(MODEL, LanguageModel(SecretStr(KEY), server.url).complete)


def test_texts_are_rated_in_order_over_several_requests(server: LLMServer, scorer: LlmScorer) -> None:
    texts = [f"{'happy' if number % 2 else 'sad'} {number}" for number in range(2 * TEXTS_PER_REQUEST + 1)]
    scores = scorer.score(texts)
    assert scores.emotions[:3, 0].tolist() == [0.1, 0.9, 0.1]
    assert len(server.calls) == 3
    assert scorer.version == "a-model@1"


def test_other_languages_and_empty_texts_are_unsupported(server: LLMServer, scorer: LlmScorer) -> None:
    scores = scorer.score(["happy", " ", "hoy feliz"])
    assert scores.supported.tolist() == [True, False, False]
    assert np.isnan(scores.sentiment[1:]).all()
    assert json.loads(server.calls[0]["messages"][1]["content"]) == {"texts": ["happy", "hoy feliz"]}


def test_no_texts_ask_nobody(server: LLMServer, scorer: LlmScorer) -> None:
    assert scorer.score([]).emotions.shape == (0, len(EMOTIONS))
    assert server.calls == []


def test_it_shapes_arcs_as_any_scorer(scorer: LlmScorer) -> None:
    (arc,) = trajectories(["It broke.\n\nWe looked.\n\nI am happy, happy!"], scorer)
    assert (arc.trajectory_type, arc.segments[2].dominant) == ("rising", "joy")


@pytest.mark.parametrize("texts", [1, TEXTS_PER_REQUEST])
def test_the_answer_is_bounded_and_has_room_for_every_text(server: LLMServer, scorer: LlmScorer, texts: int) -> None:
    scorer.score(["happy"] * texts)
    (body,) = server.calls
    longest = json.dumps({"ratings": [dict.fromkeys(rating(""), 0.123)] * texts}, indent=2)
    assert len(longest) / 3 < body["max_completion_tokens"] <= 300 * texts, "a token is some three characters of JSON"
    assert body["temperature"] == 0


def _scored(text: str, finish: str = "stop") -> Any:
    return LlmScorer(MODEL, lambda request: Completion(text, finish, request.model, 1, 1)).score(["x"])


def _rated(**changed: Any) -> str:
    return json.dumps({"ratings": [rating("x") | changed]})


@pytest.mark.parametrize(
    "answer",
    [
        _rated(joy=1.2),
        _rated(joy=-0.1),
        _rated(compound=-1.5),
        _rated(trust=None),
        _rated(trust=True),
        _rated(trust="0.3"),
        json.dumps({"ratings": []}),
        json.dumps({"ratings": [rating("x")] * 2}),
        json.dumps({"ratings": [{"english": True}]}),
        "joy, mostly",
        '{"ratings": [NaN]}',
        "[]",
        "",
    ],
)
def test_an_answer_out_of_bounds_is_an_error(answer: str) -> None:
    assert _scored(_rated()).supported.all()
    with pytest.raises(ThreadsAgentError) as caught:
        _scored(answer)
    assert not isinstance(caught.value, Unavailable | PermanentFailure | ConfigurationError)


def test_a_cut_answer_is_an_error() -> None:
    with pytest.raises(ThreadsAgentError, match="length"):
        _scored(_rated(), "length")


def test_a_refusal_is_final() -> None:
    with pytest.raises(PermanentFailure, match="refuses"):
        _scored("", "refusal")


def test_what_asking_raises_is_no_answer() -> None:
    def ask(_: Request) -> Completion:
        raise Unavailable("the budget is used up")

    with pytest.raises(Unavailable, match="budget"):
        LlmScorer(MODEL, ask).score(["x"])
