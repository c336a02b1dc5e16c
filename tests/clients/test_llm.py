"""A language model over HTTP: what is asked, and which failures may have been paid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from tests.llm_server import KEY, Fault, LLMServer
from threads_agent_dagster.clients.llm import LanguageModel, MaybePaid, Request
from threads_agent_dagster.errors import ConfigurationError, PermanentFailure, ThreadsAgentError, Unavailable
from threads_agent_dagster.local.ports import free_ports

SCHEMA = {
    "type": "object",
    "properties": {"hook": {"type": "string"}},
    "required": ["hook"],
    "additionalProperties": False,
}
REQUEST = Request("a-model", (("system", "Be brief."), ("user", "What shipped?")), 50)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def _model(url: str, key: str = KEY, timeout: float = 10) -> LanguageModel:
    return LanguageModel(SecretStr(key), url, timeout)


def test_an_answer_comes_with_what_it_used(server: LLMServer) -> None:
    answer = _model(server.url).complete(REQUEST)
    assert (answer.text, answer.finish, answer.model) == ("an answer to What shipped?", "stop", "a-model")
    assert (answer.prompt_tokens, answer.completion_tokens) == (4, 5)
    assert server.calls == [REQUEST.document()]


def test_a_structured_answer_follows_a_strict_schema(server: LLMServer) -> None:
    request = Request("a-model", (("user", "What shipped?"),), 50, SCHEMA, temperature=0.0)
    assert _model(server.url).complete(request).text
    loose = Request("a-model", (("user", "What shipped?"),), 50, {**SCHEMA, "additionalProperties": True})
    within = {**SCHEMA, "properties": {"hook": {"type": "array", "items": loose.schema}}}
    for schema in (loose.schema, within):
        with pytest.raises(PermanentFailure, match=r"400, invalid_json_schema"):
            _model(server.url).complete(replace(loose, schema=schema))


def test_a_server_that_keeps_its_usage_leaves_it_unknown(server: LLMServer) -> None:
    server.usage = False
    answer = _model(server.url).complete(REQUEST)
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_a_refusal_of_the_model_is_how_it_ended(server: LLMServer) -> None:
    server.message = {"content": None, "refusal": "I cannot say."}
    answer = _model(server.url).complete(REQUEST)
    assert (answer.text, answer.finish) == ("", "refusal")


PAGES = [
    ("text/html", b"<html>"),
    ("application/json", b"<html>"),
    ("application/json", b"[]"),
    ("application/json", b'{"choices": []}'),
    ("application/json", b'{"choices": [{"message": null}]}'),
]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_no_completion_may_have_been_paid_and_names_the_setting(
    server: LLMServer, page: tuple[str, bytes]
) -> None:
    server.page = page
    with pytest.raises(MaybePaid, match="OPENAI_BASE_URL"):
        _model(server.url).complete(REQUEST)


FAILURES = [
    (401, ConfigurationError),
    (403, ConfigurationError),
    (400, PermanentFailure),
    (404, ConfigurationError),
    (429, Unavailable),
    (500, MaybePaid),
    (503, MaybePaid),
]


@pytest.mark.parametrize(("status", "failure"), FAILURES)
def test_a_refusal_is_what_its_status_says(server: LLMServer, status: int, failure: type[ThreadsAgentError]) -> None:
    def refuse(_: object) -> str:
        raise Fault(status, "a_code")

    server.answer, server.retry_after = refuse, "7"
    with pytest.raises(failure) as raised:
        _model(server.url).complete(REQUEST)
    assert type(raised.value) is failure
    assert status != 429 or getattr(raised.value, "seconds", None) == 7
    assert len(server.calls) == 1, "whether to ask again is not the client's to say"


def test_a_wrong_key_names_its_setting(server: LLMServer) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        _model(server.url, key="sk-wrong").complete(REQUEST)


def test_without_a_connection_nothing_was_paid() -> None:
    with pytest.raises(Unavailable, match="OPENAI_BASE_URL") as raised:
        _model(f"http://127.0.0.1:{free_ports(1)[0]}/v1").complete(REQUEST)
    assert not isinstance(raised.value, MaybePaid)


def test_a_connection_that_breaks_may_have_been_paid(server: LLMServer) -> None:
    server.answer = lambda _: None
    with pytest.raises(MaybePaid):
        _model(server.url).complete(REQUEST)


def test_the_most_is_never_less_than_what_is_used(server: LLMServer) -> None:
    for content in ("", "ä" * 100, "🎉🎉", "one two three"):
        request = Request("a-model", (("user", content),), 3)
        answer = _model(server.url).complete(request)
        assert (answer.prompt_tokens or 0) + (answer.completion_tokens or 0) <= request.most_tokens()
        assert request.most_tokens() >= len(content.encode()) + 3


def test_the_same_question_is_the_same_only_for_the_same_item() -> None:
    assert REQUEST.hash("task:1") == Request(REQUEST.model, list(REQUEST.messages), 50).hash("task:1")
    others = {REQUEST.hash("task:2"), Request("other", REQUEST.messages, 50).hash("task:1")}
    assert REQUEST.hash("task:1") not in others
    assert len(others) == 2
