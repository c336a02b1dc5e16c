"""Dagster's GraphQL API: what loaded, whether the daemon beats, which runs are unfinished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from threads_agent_dagster.errors import Unavailable

TIMEOUT = httpx.Timeout(30.0, connect=5.0)

LOCATIONS = """
{ workspaceOrError { __typename ... on Workspace { locationEntries {
    name locationOrLoadError { __typename ... on PythonError { message causes { message } } } } } } }
"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
UNFINISHED = """
{ runsOrError(filter: {statuses: [NOT_STARTED, STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { runId } } } }
"""
CANCEL = """
mutation($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }
"""
POOLS = "{ instance { concurrencyLimits { concurrencyKey usingDefaultLimit } } }"
LIMIT_POOL = "mutation($pool: String!, $limit: Int!) { setConcurrencyLimit(concurrencyKey: $pool, limit: $limit) }"


class DagsterClient:
    """Speaks to one Dagster webserver; every method raises Unavailable when it does not answer."""

    def __init__(self, url: str) -> None:
        self._endpoint = f"{url}/graphql"

    def load_errors(self) -> dict[str, str]:
        """Code locations that did not load, with the error of each."""
        entries = self._ask(LOCATIONS)["workspaceOrError"].get("locationEntries", [])
        states = {entry["name"]: entry["locationOrLoadError"] for entry in entries}
        return {name: _first_cause(state) for name, state in states.items() if state and "message" in state}

    def silent_daemons(self) -> list[str]:
        """Daemons that should run and have sent no recent heartbeat."""
        statuses = self._ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [s["daemonType"] for s in statuses if s["required"] and not s["healthy"]]

    def unfinished_runs(self) -> list[str]:
        """Ids of the runs that somebody works on, or should."""
        return [run["runId"] for run in self._ask(UNFINISHED)["runsOrError"]["results"]]

    def mark_canceled(self, run_ids: Sequence[str]) -> None:
        """Close runs whose worker is known to be dead, without asking it."""
        if run_ids:
            self._ask(CANCEL, {"ids": list(run_ids)})

    def limit_pools(self, limits: Mapping[str, int]) -> None:
        """Give each pool its limit, once: one that it has already, from here or from people, stays."""
        known = self._ask(POOLS)["instance"]["concurrencyLimits"]
        limited = {pool["concurrencyKey"] for pool in known if not pool["usingDefaultLimit"]}
        for pool in limits.keys() - limited:
            self._ask(LIMIT_POOL, {"pool": pool, "limit": limits[pool]})

    def _ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = httpx.post(
                self._endpoint, json={"query": query, "variables": dict(variables or {})}, timeout=TIMEOUT
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unavailable(f"Dagster does not answer at {self._endpoint}: {reason}") from error
        body = response.json()
        if body.get("errors"):
            raise Unavailable(f"Dagster refused a query: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data


def _first_cause(error: Mapping[str, Any]) -> str:
    """Where Dagster's chain of messages begins, on one line."""
    cause = [error, *error["causes"]][-1]
    return " ".join(str(cause["message"]).split())
