"""The platform's own REST services, as its dashboard and its commands call them."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound, ThreadsAgentError, Unauthorized, Unavailable

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
LIMITS = httpx.Limits(max_keepalive_connections=10)
SAFE_RETRIES = 2
FAILURES: dict[int, type[ThreadsAgentError]] = {
    400: InvalidInput,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
}


class Platform:
    """One service at `base_url`; only GET is tried again."""

    def __init__(self, base_url: str, api_key: str, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=base_url,
            timeout=TIMEOUT,
            limits=LIMITS,
            headers={"Authorization": f"Bearer {api_key}"},
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **parameters: str | int) -> Any:
        """The answer's JSON. Raises NotFound, Unauthorized, Unavailable."""
        for _ in range(SAFE_RETRIES):
            try:
                return self._request("GET", path, params=parameters)
            except Unavailable:
                continue
        return self._request("GET", path, params=parameters)

    def post(self, path: str, body: Any, *, idempotency_key: str | None = None) -> Any:
        """The answer's JSON. Raises InvalidInput, Conflict, Unauthorized, Unavailable."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._request("POST", path, json=body, headers=headers)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._client.base_url} does not answer: {error}") from error
        if response.is_success:
            return response.json()
        raise FAILURES.get(response.status_code, Unavailable)(_problem(response))


def _problem(response: httpx.Response) -> str:
    """The words of an RFC 9457 answer, with the fields that it names."""
    try:
        problem = response.json()
    except ValueError:
        return f"{response.request.url} answered {response.status_code}"
    fields = "; ".join(f"{one.get('field')}: {one.get('detail')}" for one in problem.get("errors", []))
    return fields or problem.get("detail") or problem.get("title") or f"answered {response.status_code}"
