"""Everything that can go wrong, as one tree.

ThreadsAgentError               base; str() is one line that names what to do
├── ConfigurationError          a setting is missing or wrong; the remedy names the variable
├── InvalidInput                the caller's data is wrong; `field` names where
│   └── Unsupported             well-formed, but nothing here handles it
├── NotFound                    no such thing
├── Conflict                    the state of the world forbids it (already exists, in flight, changed meanwhile)
│   └── Stale                   the caller saw an older version of the thing than there is now
├── Unauthorized                no key or an unknown one
│   └── Forbidden               a known key without the scope
├── Unavailable                 a part we depend on does not answer; trying again helps
└── PermanentFailure            this item cannot succeed; trying again does not help
"""

from __future__ import annotations


class ThreadsAgentError(Exception):
    """Base of all failures that the platform raises on purpose."""

    retryable = False


class ConfigurationError(ThreadsAgentError):
    """A setting is missing or wrong."""


class InvalidInput(ThreadsAgentError):
    """The caller's data is wrong; `field` is the path of the offending value, e.g. `payload.topic`."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class Unsupported(InvalidInput):
    """Well-formed, but nothing here handles it."""


class NotFound(ThreadsAgentError):
    """No such thing."""


class Conflict(ThreadsAgentError):
    """The state of the world forbids it."""


class Stale(Conflict):
    """The caller saw an older version of the thing than there is now."""


class Unauthorized(ThreadsAgentError):
    """No credentials, or unknown ones."""


class Forbidden(Unauthorized):
    """Known credentials that do not carry the needed scope."""


class Unavailable(ThreadsAgentError):
    """A part we depend on does not answer; trying again helps, in `seconds` if that is known."""

    retryable = True

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class PermanentFailure(ThreadsAgentError):
    """This item cannot succeed; trying again does not help."""
