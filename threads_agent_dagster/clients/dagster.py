"""Dagster's GraphQL API: what loaded, whether the daemon beats, which runs are unfinished; starts and ends runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from threads_agent_dagster.errors import InvalidInput, Unavailable

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
HOME_OF_ASSET = """
query($asset: AssetKeyInput!) { assetNodes(assetKeys: [$asset]) { repository { name location { name } } } }
"""
LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } } } }
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
TERMINATE = """
mutation($ids: [String!]!) { terminateRuns(runIds: $ids, terminatePolicy: SAFE_TERMINATE) { __typename } }
"""
OBSERVED = """
query($asset: AssetKeyInput!) { assetOrError(assetKey: $asset) { ... on Asset { assetObservations(limit: 20) {
    runId metadataEntries { label ... on MarkdownMetadataEntry { mdStr } } } } } }
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

    def launch_asset(self, asset: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a run of one asset with this op config and return its id. Raises InvalidInput when it is refused."""
        homes = self._ask(HOME_OF_ASSET, {"asset": {"path": [asset]}})["assetNodes"]
        if not homes:
            raise Unavailable(f"Dagster has no asset {asset}; is its code location loaded? See `threads-agent doctor`")
        repository = homes[0]["repository"]
        selector = {
            "repositoryName": repository["name"],
            "repositoryLocationName": repository["location"]["name"],
            "pipelineName": "__ASSET_JOB",  # Dagster's own, which can run any asset
            "assetSelection": [{"path": [asset]}],
            "assetCheckSelection": None,
        }
        params = {
            "selector": selector,
            "runConfigData": {"ops": {asset: {"config": dict(config)}}},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(LAUNCH, {"params": params})["launchRun"]
        if "run" not in answer:
            why = answer.get("message") or "; ".join(error["message"] for error in answer.get("errors", []))
            raise InvalidInput(f"Dagster refused the run: {why or answer['__typename']}")
        run_id: str = answer["run"]["runId"]
        return run_id

    def run_status(self, run_id: str) -> str | None:
        """STARTED, SUCCESS, ...; None when there is no such run."""
        status: str | None = self._ask(STATUS, {"id": run_id})["runOrError"].get("status")
        return status

    def observed(self, asset: str, run_id: str, label: str) -> str | None:
        """The Markdown under `label` that a run observed of an asset; None when it did not."""
        found = self._ask(OBSERVED, {"asset": {"path": [asset]}})["assetOrError"].get("assetObservations", [])
        entries = [entry for one in found if one["runId"] == run_id for entry in one["metadataEntries"]]
        return next((entry["mdStr"] for entry in entries if entry["label"] == label), None)

    def terminate(self, run_id: str) -> None:
        """Interrupt a run; it ends soon after. Nothing happens to one that has ended."""
        self._ask(TERMINATE, {"ids": [run_id]})

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
