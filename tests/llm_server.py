"""A server that holds its callers to the contract of OpenAI's chat completions.

Written from the published description (github.com/openai/openai-openapi, CreateChatCompletionRequest and
CreateChatCompletionResponse): an unknown field, a missing key or a schema that is not strict is refused as there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from jsonschema import Draft202012Validator

from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES

KEY = "sk-of-this-test"
FIELDS = {
    "model", "messages", "max_completion_tokens", "temperature", "response_format", "seed", "n", "stop", "stream",
    "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice",
    "user", "reasoning_effort", "service_tier", "store", "metadata", "parallel_tool_calls", "modalities", "prediction",
    "verbosity",
}  # fmt: skip
ROLES = {"system", "developer", "user", "assistant", "tool"}


def rating(text: str) -> dict[str, Any]:
    """Happy texts are joyful, Spanish ones are not English."""
    joy = 0.9 if "happy" in text else 0.1
    values = dict.fromkeys((*EMOTIONS, *POLARITIES), 0.1) | {"joy": joy, "compound": 2 * joy - 1}
    return {"english": "feliz" not in text} | values


def rate(body: dict[str, Any]) -> str:
    """What a model answers that rates texts and keeps to the schema."""
    texts = json.loads(body["messages"][1]["content"])["texts"]
    answer = {"ratings": [rating(text) for text in texts]}
    Draft202012Validator(body["response_format"]["json_schema"]["schema"]).validate(answer)
    return json.dumps(answer)


class Fault(Exception):
    """What the server answers instead: (status, code)."""


@dataclass
class LLMServer:
    """`answer` makes an answer's text from the body; it may raise Fault, or return None to drop the connection.

    `message` replaces fields of the answer's message, `page` all that is sent (content type, body).
    """

    answer: Callable[[dict[str, Any]], str | None] = lambda body: f"an answer to {body['messages'][-1]['content']}"
    retry_after: str | None = None
    usage: bool = True
    message: dict[str, Any] = field(default_factory=dict)
    page: tuple[str, bytes] | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, path: str, authorization: str | None, raw: bytes) -> tuple[int, dict[str, Any]] | None:
        """Status and body; None: the connection is dropped."""
        try:
            body = _checked(path, authorization, raw)
            self.calls.append(body)
            text = self.answer(body)
        except Fault as fault:
            status, code = fault.args
            return status, {
                "error": {"message": "refused", "type": "invalid_request_error", "param": None, "code": code}
            }
        return None if text is None else (200, self._completion(body, text))

    def _completion(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        sent = sum(len(message["content"].split()) for message in body["messages"])
        received = min(len(text.split()), body["max_completion_tokens"])
        message = {"role": "assistant", "content": text, "refusal": None, "annotations": []} | self.message
        usage = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
        return {
            "id": f"chatcmpl-{len(self.calls)}",
            "object": "chat.completion",
            "created": 1741569952,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        } | ({"usage": usage} if self.usage else {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                reply = server.reply(self.path, self.headers["Authorization"], raw)
                if reply is None:
                    return
                status, body = reply
                kind, content = server.page or ("application/json", json.dumps(body).encode())
                try:
                    self.send_response(status)
                    if server.retry_after is not None:
                        self.send_header("Retry-After", server.retry_after)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except BrokenPipeError:  # who asked was killed
                    return

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

        return Handler


def _checked(path: str, authorization: str | None, raw: bytes) -> dict[str, Any]:
    if authorization != f"Bearer {KEY}":
        raise Fault(401, "invalid_api_key")
    body: dict[str, Any] = json.loads(raw)
    if path != "/v1/chat/completions":
        raise Fault(404, "not_found")
    if body.keys() - FIELDS or not {"model", "messages"} <= body.keys():
        raise Fault(400, "unknown_parameter")
    if not body["messages"] or any(set(one) - {"role", "content", "name"} for one in body["messages"]):
        raise Fault(400, "invalid_value")
    if any(one["role"] not in ROLES or not isinstance(one["content"], str) for one in body["messages"]):
        raise Fault(400, "invalid_value")
    _check_format(body.get("response_format", {"type": "text"}))
    return body


def _check_format(response_format: dict[str, Any]) -> None:
    if response_format["type"] != "json_schema":
        return
    answer = response_format["json_schema"]
    schema = answer["schema"]
    if not answer["name"].isidentifier() or (answer.get("strict") and not _strict(schema)):
        raise Fault(400, "invalid_json_schema")


def _strict(schema: dict[str, Any]) -> bool:
    """Strict mode wants every property of every object required and no other allowed."""
    if schema["type"] == "array":
        return _strict(schema["items"])
    if schema["type"] != "object":
        return True
    closed = schema.get("additionalProperties") is False and set(schema["required"]) == set(schema["properties"])
    return closed and all(map(_strict, schema["properties"].values()))
