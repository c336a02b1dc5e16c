"""Asking a language model so that nothing is paid twice: reserve, call, record, settle.

A question whose answer is recorded is never asked again. While somebody asks, others wait: a session of PostgreSQL
holds the question and ends with its process, so a crash frees it at once, and the next one to ask repeats the call,
once. What a dead caller had reserved stays used: nobody knows whether it was paid. No transaction is open meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

from sqlalchemy import Engine

from threads_agent_dagster.clients.llm import Ask, Completion, LanguageModel, MaybePaid, Request
from threads_agent_dagster.db import llm_calls
from threads_agent_dagster.db.llm_calls import Reservation, Settlement
from threads_agent_dagster.errors import ConfigurationError, ThreadsAgentError, Unavailable
from threads_agent_dagster.settings import Settings

BUSY_SECONDS = 5.0
NO_BUDGET_SECONDS = 600.0  # until somebody raised it, or the day is over
MILLION = Decimal(1_000_000)


class BudgetExhausted(Unavailable):
    """Today's budget has no room for this call."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens."""

    input: Decimal
    output: Decimal

    def of(self, answer: Completion) -> Decimal | None:
        """What an answer cost; None if its tokens are not known."""
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            return None
        return (answer.prompt_tokens * self.input + answer.completion_tokens * self.output) / MILLION


@dataclass(frozen=True, slots=True)
class Ledger:
    """`tokens_per_day` is the budget of a UTC day; `call` asks the model; without `prices` costs are not known."""

    engine: Engine
    tokens_per_day: int
    call: Ask
    prices: Prices | None = None

    def ask(self, request: Request, item: str, run_id: str | None = None) -> Completion:
        """The answer, recorded or new.

        Raises BudgetExhausted, Unavailable (also while another worker asks the same), and what `call` raises.
        """
        request_hash = request.hash(item)
        with self._held(request_hash):
            with self.engine.begin() as connection:
                found = llm_calls.find_answer(connection, request_hash)
                if found is not None:
                    return Completion(**found)
                llm_calls.write_off(connection, request_hash)
                reservation = Reservation(request_hash, item, request.model, request.most_tokens(), run_id)
                call_id = llm_calls.reserve(connection, reservation, self.tokens_per_day)
            if call_id is None:
                raise self._exhausted(request.most_tokens())
            return self._call(call_id, request)

    @contextmanager
    def _held(self, request_hash: str) -> Iterator[None]:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
            session.detach()  # closed at the end, and the lock with it
            if not llm_calls.try_lock(session, request_hash):
                raise Unavailable("another worker asks the same of the language model", BUSY_SECONDS)
            yield

    def _call(self, call_id: int, request: Request) -> Completion:
        try:
            answer = self.call(request)
        except Exception as error:
            unpaid = isinstance(error, ThreadsAgentError) and not isinstance(error, MaybePaid)
            ended = Settlement("refused", used_tokens=0) if unpaid else Settlement("lost")
            self._settle(call_id, replace(ended, error=f"{type(error).__name__}: {error}"[:500]))
            raise
        if not self._settle(call_id, self._answered(answer)):
            raise Unavailable("this worker was taken for dead while the language model answered", BUSY_SECONDS)
        return answer

    def _answered(self, answer: Completion) -> Settlement:
        known = answer.prompt_tokens is not None and answer.completion_tokens is not None
        return Settlement(
            "answered",
            used_tokens=(answer.prompt_tokens or 0) + (answer.completion_tokens or 0) if known else None,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            cost_usd=self.prices.of(answer) if self.prices else None,
            answer=asdict(answer),
        )

    def _settle(self, call_id: int, settlement: Settlement) -> bool:
        with self.engine.begin() as connection:
            return llm_calls.settle(connection, call_id, settlement)

    def _exhausted(self, needed: int) -> BudgetExhausted:
        return BudgetExhausted(
            f"{needed} tokens more would exceed today's budget of {self.tokens_per_day}; "
            "raise THREADS_AGENT_LLM_TOKENS_PER_DAY or wait for tomorrow (UTC)",
            NO_BUDGET_SECONDS,
        )


def ledger(engine: Engine, settings: Settings) -> Ledger:
    """The ledger over the configured model. Raises ConfigurationError when none is."""
    return Ledger(engine, settings.llm_tokens_per_day, language_model(settings).complete, _prices(settings))


def language_model(settings: Settings) -> LanguageModel:
    """The configured model, which is then asked outside the ledger. Raises ConfigurationError when none is."""
    if settings.openai_api_key is None:
        raise ConfigurationError("no language model is configured: set OPENAI_API_KEY (and OPENAI_BASE_URL)")
    return LanguageModel(settings.openai_api_key, settings.openai_base_url)


def _prices(settings: Settings) -> Prices | None:
    sent, answered = settings.llm_usd_per_million_input, settings.llm_usd_per_million_output
    if sent is None or answered is None:
        return None
    return Prices(Decimal(str(sent)), Decimal(str(answered)))
