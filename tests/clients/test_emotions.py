"""The language model as a scorer, against a server that takes only what the published API takes.

The request is checked by the fields of `CreateChatCompletionRequest` and the rules of strict structured output in
OpenAI's API reference (all properties required, no others allowed); answers have the shape of its examples.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from threads_agent_dagster.clients.emotions import TEXTS_PER_REQUEST, LlmScorer
from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES, trajectories
from threads_agent_dagster.errors import ConfigurationError, PermanentFailure, ThreadsAgentError, Unavailable

KEY = "a key of this test"
MODEL = "a-model"
KNOWN_FIELDS = {"model", "messages", "temperature", "response_format"}
Reply = tuple[int, Any]


def rating(text: str) -> dict[str, Any]:
    joy = 0.9 if "happy" in text else 0.1
    values = dict.fromkeys((*EMOTIONS, *POLARITIES), 0.1) | {"joy": joy, "compound": 2 * joy - 1}
    return {"english": "feliz" not in text} | values


def completion(content: str | None, **message: Any) -> Reply:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": content, "refusal": None} | message,
    }
    return 200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}


def rate(body: dict[str, Any]) -> Reply:
    """What a model that keeps to the schema answers."""
    texts = json.loads(body["messages"][1]["content"])["texts"]
    answer = {"ratings": [rating(text) for text in texts]}
    Draft202012Validator(body["response_format"]["json_schema"]["schema"]).validate(answer)
    return completion(json.dumps(answer))


def complaint(body: dict[str, Any]) -> str | None:
    """Why the published API would refuse the body."""
    if unknown := set(body) - KNOWN_FIELDS:
        return f"Unrecognized request argument supplied: {unknown}"
    form = body["response_format"]
    if form["type"] != "json_schema" or set(form["json_schema"]) != {"name", "strict", "schema"}:
        return "Invalid parameter: response_format"
    Draft202012Validator.check_schema(form["json_schema"]["schema"])
    return _loose(form["json_schema"]["schema"])


def _loose(schema: dict[str, Any]) -> str | None:
    if schema["type"] == "array":
        return _loose(schema["items"])
    if schema["type"] != "object":
        return None
    if schema.get("additionalProperties") is not False or set(schema["required"]) != set(schema["properties"]):
        return "Invalid schema: additionalProperties must be false and every property required"
    return next(filter(None, map(_loose, schema["properties"].values())), None)


class Model(ThreadingHTTPServer):
    """An endpoint on a real socket; `answer` can be exchanged."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[dict[str, Any]], Reply] = rate
        self.asked: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        status, answer = self._reply(body)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, body: dict[str, Any]) -> Reply:
        if self.path != "/v1/chat/completions":
            return 404, {"error": {"message": f"Invalid URL (POST {self.path})"}}
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return 401, {"error": {"message": "Incorrect API key provided"}}
        if said := complaint(body):
            return 400, {"error": {"message": said}}
        return self.server.answer(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def scorer(model: Model, key: str = KEY) -> LlmScorer:
    return LlmScorer(f"http://127.0.0.1:{model.server_port}/v1", key, MODEL)


def test_texts_are_rated_in_order_over_several_requests(model: Model) -> None:
    texts = [f"{'happy' if number % 2 else 'sad'} {number}" for number in range(2 * TEXTS_PER_REQUEST + 1)]
    scores = scorer(model).score(texts)
    assert scores.emotions[:3, 0].tolist() == [0.1, 0.9, 0.1]
    assert len(model.asked) == 3
    assert scorer(model).version == "a-model@1"


def test_other_languages_and_empty_texts_are_unsupported(model: Model) -> None:
    scores = scorer(model).score(["happy", " ", "hoy feliz"])
    assert scores.supported.tolist() == [True, False, False]
    assert np.isnan(scores.sentiment[1:]).all()
    assert json.loads(model.asked[0]["messages"][1]["content"]) == {"texts": ["happy", "hoy feliz"]}


def test_no_texts_ask_nobody(model: Model) -> None:
    assert scorer(model).score([]).emotions.shape == (0, len(EMOTIONS))
    assert model.asked == []


def test_it_shapes_arcs_as_any_scorer(model: Model) -> None:
    (arc,) = trajectories(["It broke.\n\nWe looked.\n\nI am happy, happy!"], scorer(model))
    assert (arc.trajectory_type, arc.segments[2].dominant) == ("rising", "joy")


def _rated(**changed: Any) -> Callable[[dict[str, Any]], Reply]:
    return lambda _: completion(json.dumps({"ratings": [rating("x") | changed]}))


@pytest.mark.parametrize(
    "answer",
    [
        _rated(joy=1.2),
        _rated(joy=-0.1),
        _rated(compound=-1.5),
        _rated(trust=None),
        _rated(trust=True),
        _rated(trust="0.3"),
        lambda _: completion(json.dumps({"ratings": []})),
        lambda _: completion(json.dumps({"ratings": [{"english": True}]})),
        lambda _: completion("joy, mostly"),
        lambda _: completion('{"ratings": [NaN]}'),
        lambda _: completion(None),
        lambda _: (200, {"choices": []}),
        lambda _: (200, "<html>"),
    ],
)
def test_an_answer_out_of_bounds_is_an_error(model: Model, answer: Callable[[dict[str, Any]], Reply]) -> None:
    model.answer = answer
    with pytest.raises(ThreadsAgentError) as caught:
        scorer(model).score(["x"])
    assert not isinstance(caught.value, Unavailable | PermanentFailure | ConfigurationError)


def test_a_cut_answer_is_an_error(model: Model) -> None:
    status, body = completion("{}")
    body["choices"][0]["finish_reason"] = "length"
    model.answer = lambda _: (status, body)
    with pytest.raises(ThreadsAgentError, match="length"):
        scorer(model).score(["x"])


def test_a_refusal_is_final(model: Model) -> None:
    model.answer = lambda _: completion(None, refusal="I cannot rate this.")
    with pytest.raises(PermanentFailure, match="cannot rate"):
        scorer(model).score(["x"])


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_unavailable(model: Model, status: int) -> None:
    model.answer = lambda _: (status, {"error": {"message": "later"}})
    with pytest.raises(Unavailable, match=str(status)):
        scorer(model).score(["x"])


def test_nobody_there_is_unavailable(model: Model) -> None:
    gone = scorer(model)
    model.shutdown()
    model.server_close()
    with pytest.raises(Unavailable, match="does not answer"):
        gone.score(["x"])


def test_a_refused_key_is_a_setting(model: Model) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
        scorer(model, "another").score(["x"])
    assert "another" not in str(caught.value)
