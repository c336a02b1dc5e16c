"""A language model behind any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from threads_agent_dagster.errors import ConfigurationError, PermanentFailure, Unavailable

if TYPE_CHECKING:
    import openai

TIMEOUT_SECONDS = 60.0
NEVER_SENT = {"ConnectError", "ConnectTimeout"}  # by name: of httpx or of httpx2, as the version of openai has it
NO_COMPLETION = "the language model's answer is no chat completion; is OPENAI_BASE_URL right?"
TOKENS_PER_MESSAGE = 16  # what chat templates add, generously


class MaybePaid(Unavailable):
    """The answer did not come, and nobody knows whether the call was paid; trying again helps."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question; `schema` is the JSON schema that the answer must follow, `messages` are (role, content)."""

    model: str
    messages: Sequence[tuple[str, str]]
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    temperature: float | None = None

    def document(self) -> dict[str, Any]:
        """The body that is sent."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in self.messages],
            "max_completion_tokens": self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.schema is not None:
            answer = {"name": "answer", "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": answer}
        return body

    def most_tokens(self) -> int:
        """No call uses more: a token is one byte of text at least, and the answer is bounded."""
        sent = [content for _, content in self.messages] + ([json.dumps(self.schema)] if self.schema else [])
        return sum(len(text.encode()) + TOKENS_PER_MESSAGE for text in sent) + self.max_tokens

    def hash(self, item: str) -> str:
        """What makes it the same question again, asked for the same item."""
        canonical = json.dumps([item, self.document()], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer; `finish` is why it ended (`stop`, `length` …). Token counts are None if the server keeps them."""

    text: str
    finish: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


Ask = Callable[[Request], Completion]


class LanguageModel:
    """Asks once per `complete`: whether to ask again is the ledger's to say."""

    def __init__(self, api_key: SecretStr, base_url: str | None, timeout: float = TIMEOUT_SECONDS) -> None:
        import openai

        self._client = openai.OpenAI(
            api_key=api_key.get_secret_value(), base_url=base_url, max_retries=0, timeout=timeout
        )

    def complete(self, request: Request) -> Completion:
        """Raises MaybePaid; or, surely unpaid: Unavailable, ConfigurationError, PermanentFailure."""
        import openai

        try:
            answer = self._client.chat.completions.create(**request.document())
        except openai.OpenAIError as error:
            raise _failure(error) from error
        except ValueError as error:
            raise MaybePaid(NO_COMPLETION) from error
        return _completion(answer)


def _completion(answer: openai.types.chat.ChatCompletion) -> Completion:
    try:
        choice, usage = answer.choices[0], answer.usage
        return Completion(
            text=choice.message.content or "",
            finish="refusal" if choice.message.refusal else choice.finish_reason,
            model=answer.model,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )
    except (AttributeError, IndexError, TypeError) as error:  # openai takes any answer for what it should be
        raise MaybePaid(NO_COMPLETION) from error


def _failure(error: openai.OpenAIError) -> Exception:
    """What went wrong, without the server's words where they may repeat the question."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _refusal(error)
    if type(error.__cause__).__name__ in NEVER_SENT:
        return Unavailable("no connection to the language model; is OPENAI_BASE_URL right?")
    return MaybePaid(f"the language model's answer did not come ({type(error).__name__})")


def _refusal(error: openai.APIStatusError) -> Exception:
    status = error.status_code
    if status in (401, 403):
        return ConfigurationError(f"the language model refused the key ({status}); set OPENAI_API_KEY")
    if status == 404:
        return ConfigurationError("the language model is not there (404); see OPENAI_MODEL and OPENAI_BASE_URL")
    if status == 429:
        after = error.response.headers.get("retry-after", "")
        return Unavailable("the language model is asked too often (429)", float(after) if after.isdecimal() else None)
    if status >= 500 or status == 408:
        return MaybePaid(f"the language model answered {status}")
    return PermanentFailure(f"the language model refused the request ({status}, {error.code or 'no code'})")
