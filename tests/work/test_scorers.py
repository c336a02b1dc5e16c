"""Which scorer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llm_server import KEY, LLMServer, rate
from threads_agent_dagster.domain.scorers import PACKAGED
from threads_agent_dagster.errors import ConfigurationError, InvalidInput
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import emotions
from threads_agent_dagster.work.scorers import choose


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


def test_the_accurate_one_runs_unless_a_setting_says_otherwise() -> None:
    assert choose(settings()).version.startswith("goemotions-minilm@")
    assert choose(settings(emotion_scorer="vader")).version.startswith("vader@")
    assert choose(settings(emotion_scorer="vader"), "fast").version.startswith("goemotions-linear@")


@pytest.mark.parametrize("name", PACKAGED)
def test_the_version_is_known_before_the_model_is_loaded(name: str) -> None:
    choice = choose(settings(), name)
    assert choice.load().version == choice.version


def test_a_lexicon_that_changes_on_disk_is_another_scorer(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("word,value\ngood,1\n")
    given = settings(emotion_scorer="lexicon", emotion_lexicon=table)
    before = choose(given).version
    assert before in emotions.job(settings=given).code_version
    table.write_text("word,value\ngood,1\nbad,-1\n")
    assert choose(given).version != before


def test_the_language_model_is_that_of_the_settings() -> None:
    with LLMServer(rate) as server:
        given = settings(openai_api_key=KEY, openai_base_url=server.url, openai_model="m")
        choice = choose(given, "llm")
        scorer = choice.load()
        assert scorer.score(["happy"]).emotions[0, 0] == 0.9
        assert [call["model"] for call in server.calls] == ["m"]
    assert (scorer.version, choice.paid) == (choice.version, True)


@pytest.mark.parametrize(
    ("name", "variable"), [("lexicon", "THREADS_AGENT_EMOTION_LEXICON"), ("llm", "OPENAI_API_KEY and OPENAI_MODEL")]
)
def test_what_a_scorer_needs_is_named(name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=variable):
        choose(settings(), name)


def test_an_unknown_scorer_is_named() -> None:
    with pytest.raises(InvalidInput, match="nrc"):
        choose(settings(), "nrc")


def test_a_lexicon_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.csv"):
        choose(settings(emotion_lexicon=tmp_path / "none.csv"), "lexicon")
