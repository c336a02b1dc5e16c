"""Which scorer runs: one of the packaged ones, a user's lexicon or a language model, by name and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from threads_agent_dagster.domain.emotions import Scorer, load_scorer
from threads_agent_dagster.domain.lexicon import LexiconScorer, read_lexicon
from threads_agent_dagster.domain.scorers import packaged_versions
from threads_agent_dagster.errors import ConfigurationError
from threads_agent_dagster.settings import Settings

if TYPE_CHECKING:
    from threads_agent_dagster.clients.llm import Ask


@dataclass(frozen=True, slots=True)
class Choice:
    """A scorer by its version; `load` costs a second for a packaged model, so runs without work never call it."""

    version: str
    load: Callable[[], Scorer]
    paid: bool = False


def choose(settings: Settings, name: str | None = None, asks: Callable[[], Ask] | None = None) -> Choice:
    """The scorer called `name`, or the one that the settings name.

    `asks` makes what a language model is asked through when one is loaded; without it the model is asked directly,
    outside the ledger and its budget.

    Raises: InvalidInput for an unknown name, ConfigurationError when its settings are missing.
    """
    name = name or settings.emotion_scorer
    if name == "lexicon":
        lexicon = _lexicon(settings)
        return Choice(lexicon.version, lambda: lexicon)
    if name == "llm":
        return _llm(settings, asks)
    if name not in (versions := packaged_versions()):
        load_scorer(name)  # raises the error that names all
    return Choice(versions[name], lambda: load_scorer(name))


def _lexicon(settings: Settings) -> LexiconScorer:
    if settings.emotion_lexicon is None:
        raise ConfigurationError("the scorer `lexicon` needs THREADS_AGENT_EMOTION_LEXICON, the path of its table")
    try:
        content = settings.emotion_lexicon.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the lexicon {settings.emotion_lexicon} cannot be read: {error}") from error
    return _read_once(content, settings.emotion_lexicon.stem)


_read_once = lru_cache(maxsize=2)(read_lexicon)


def _llm(settings: Settings, asks: Callable[[], Ask] | None) -> Choice:
    from threads_agent_dagster.clients.emotions import LlmScorer
    from threads_agent_dagster.work.llm_calls import language_model

    model = settings.openai_model
    if settings.openai_api_key is None or model is None:
        raise ConfigurationError(
            "the scorer `llm` needs OPENAI_API_KEY and OPENAI_MODEL (and sends posts to that model)"
        )
    asks = asks or (lambda: language_model(settings).complete)
    return Choice(LlmScorer.version_of(model), lambda: LlmScorer(model, asks()), paid=True)
