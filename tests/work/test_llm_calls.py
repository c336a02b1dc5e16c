"""The ledger of paid calls on live PostgreSQL: an exact budget, recorded answers, and crashes at every point."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from tests.llm_server import KEY, Fault, LLMServer
from threads_agent_dagster.clients.llm import Completion, LanguageModel, Request
from threads_agent_dagster.db import llm_calls
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.db.llm_calls import Reservation
from threads_agent_dagster.errors import ConfigurationError, Unavailable
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.llm_calls import BudgetExhausted, Ledger, Prices, ledger

PLENTY = 1_000_000
ASKS = """
import os, signal, sys
from pydantic import SecretStr
from threads_agent_dagster.clients.llm import LanguageModel, Request
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.work.llm_calls import Ledger
database_url, url, key, dies = sys.argv[1:]
model = LanguageModel(SecretStr(key), url)
def call(request):
    if dies == "before the call":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = model.complete(request)
    if dies == "with the answer in hand":
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
request = Request("a-model", (("user", "What shipped?"),), 50)
print(Ledger(make_engine(database_url), 1_000_000, call).ask(request, "task:1").text)
"""


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def _request(content: str = "What shipped?") -> Request:
    return Request("a-model", (("user", content),), 50)


def _ledger(engine: Engine, server: LLMServer, budget: int = PLENTY, prices: Prices | None = None) -> Ledger:
    return Ledger(engine, budget, LanguageModel(SecretStr(KEY), server.url).complete, prices)


def _calls(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM llm_calls ORDER BY id")))


def _budget_is_exact(engine: Engine) -> int:
    """What is used today, which is the sum over the calls."""
    with engine.connect() as connection:
        used = llm_calls.used_today(connection)
        total = text("SELECT coalesce(sum(coalesce(used_tokens, reserved_tokens)), 0)::bigint FROM llm_calls")
        assert used == connection.execute(total).scalar_one()
    return used


def test_an_answer_is_recorded_and_never_asked_for_again(engine: Engine, server: LLMServer) -> None:
    paid = _ledger(engine, server, prices=Prices(Decimal(2), Decimal(8)))
    first, again = (paid.ask(_request(), "task:1", "run-1") for _ in range(2))
    assert first == again
    assert len(server.calls) == 1
    (call,) = _calls(engine)
    assert (call.status, call.item, call.run_id, call.model) == ("answered", "task:1", "run-1", "a-model")
    assert (call.prompt_tokens, call.completion_tokens, call.used_tokens) == (2, 5, 7)
    assert call.cost_usd == Decimal("0.000044")
    assert _budget_is_exact(engine) == 7, "what was reserved beyond it is free again"


def test_what_costs_nothing_known_has_no_cost(engine: Engine, server: LLMServer) -> None:
    _ledger(engine, server).ask(_request(), "task:1")
    server.usage = False
    _ledger(engine, server, prices=Prices(Decimal(2), Decimal(8))).ask(_request(), "task:2")
    known, unknown = _calls(engine)
    assert (known.used_tokens, known.cost_usd, unknown.cost_usd) == (7, None, None)
    assert unknown.used_tokens == unknown.reserved_tokens, "unknown usage counts at its most"
    _budget_is_exact(engine)


def test_a_hundred_reservations_at_once_never_exceed_the_budget(database_url: str, engine: Engine) -> None:
    engines = make_engine(database_url, pool_size=100)
    start = threading.Barrier(100)

    def reserve(number: int) -> int | None:
        with engines.begin() as connection:
            start.wait()
            return llm_calls.reserve(connection, Reservation(str(number), "task:1", "a-model", 70, None), 3000)

    with ThreadPoolExecutor(100) as pool:
        ids = list(pool.map(reserve, range(100)))
    engines.dispose()
    assert sum(id_ is not None for id_ in ids) == 3000 // 70
    assert _budget_is_exact(engine) == 3000 // 70 * 70


def test_without_room_in_the_budget_nothing_is_asked(engine: Engine, server: LLMServer) -> None:
    most = _request().most_tokens()
    with pytest.raises(BudgetExhausted, match="THREADS_AGENT_LLM_TOKENS_PER_DAY") as raised:
        _ledger(engine, server, budget=most - 1).ask(_request(), "task:1")
    assert raised.value.seconds
    assert server.calls == []
    assert _budget_is_exact(engine) == 0
    _ledger(engine, server, budget=most).ask(_request(), "task:1")


def test_a_refusal_gives_back_what_was_reserved_and_a_doubt_does_not(engine: Engine, server: LLMServer) -> None:
    refusals = iter([429, 500])

    def answer(_: dict[str, Any]) -> str:
        if status := next(refusals, None):
            raise Fault(status, "a_code")
        return "yes"

    server.answer = answer
    for _ in range(2):
        with pytest.raises(Unavailable):
            _ledger(engine, server).ask(_request(), "task:1")
    assert _ledger(engine, server).ask(_request(), "task:1").text == "yes"
    refused, lost, answered = _calls(engine)
    assert (refused.status, refused.used_tokens) == ("refused", 0)
    assert (lost.status, lost.used_tokens) == ("lost", lost.reserved_tokens)
    assert answered.status == "answered"
    _budget_is_exact(engine)


def test_what_somebody_asks_already_is_waited_for(engine: Engine, server: LLMServer) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hold(_: dict[str, Any]) -> str:
        asked.set()
        assert answer.wait(30)
        return "yes"

    server.answer = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_ledger(engine, server).ask, _request(), "task:1")
        assert asked.wait(30)
        with pytest.raises(Unavailable, match="another worker") as raised:
            _ledger(engine, server).ask(_request(), "task:1")
        assert raised.value.seconds
        answer.set()
        assert first.result().text == "yes"
    assert _ledger(engine, server).ask(_request(), "task:1").text == "yes"
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("dies", "paid", "statuses"),
    [
        ("before the call", 1, ["lost", "answered"]),
        ("in flight", 2, ["lost", "answered"]),
        ("with the answer in hand", 2, ["lost", "answered"]),
    ],
)
def test_a_crash_repeats_one_paid_call_at_most(
    engine: Engine, database_url: str, server: LLMServer, dies: str, paid: int, statuses: list[str]
) -> None:
    workers: list[subprocess.Popen[str]] = []

    def answer(_: dict[str, Any]) -> str:
        if dies == "in flight" and len(server.calls) == 1:
            workers[0].kill()
            workers[0].wait()
        return "yes"

    def ask(how: str) -> tuple[int, str]:
        command = [sys.executable, "-c", ASKS, database_url, server.url, KEY, how]
        workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        said, _ = workers[-1].communicate(timeout=60)
        return workers[-1].returncode, said

    server.answer = answer
    assert ask(dies) == (-signal.SIGKILL, "")
    assert _ledger(engine, server).ask(_request(), "task:1").text == "yes"
    assert _ledger(engine, server).ask(_request(), "task:1").text == "yes"
    assert len(server.calls) == paid
    assert [call.status for call in _calls(engine)] == statuses
    _budget_is_exact(engine)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_budget_is_the_sum_of_the_calls(database_url: str, engine: Engine, seed: int) -> None:
    """Workers that are refused, that lose answers and whose sessions are cut, over the same few questions."""
    engines, rng = make_engine(database_url, pool_size=24), random.Random(seed)
    answered: dict[str, int] = {}
    lock = threading.Lock()

    def call(request: Request) -> Completion:
        fate = rng.random()
        if fate < 0.2:
            raise Unavailable("refused")
        if fate < 0.4:
            raise RuntimeError("an answer that nobody can read")
        with lock:
            question = request.messages[0][1]
            answered[question] = answered.get(question, 0) + 1
        return Completion("yes", "stop", "a-model", 2, rng.randrange(50))

    def ask(number: int) -> None:
        try:
            Ledger(engines, 3000, call).ask(_request(str(number % 9)), "task:1")
        except (Unavailable, RuntimeError):
            return

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(120)))
    engines.dispose()
    assert _budget_is_exact(engine) <= 3000
    assert set(answered.values()) == {1}, "an answered question was asked again"
    found = [call.status for call in _calls(engine)]
    assert found.count("answered") == len(answered)
    assert "reserved" not in found


def test_a_model_is_asked_only_when_one_is_configured(engine: Engine, server: LLMServer) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        ledger(engine, Settings(openai_api_key=None, _env_file=None))
    settings = Settings(
        openai_api_key=SecretStr(KEY),
        openai_base_url=server.url,
        llm_usd_per_million_input=2,
        llm_usd_per_million_output=8,
        _env_file=None,
    )
    assert ledger(engine, settings).ask(_request(), "task:1").text
    assert _calls(engine)[0].cost_usd == Decimal("0.000044")
