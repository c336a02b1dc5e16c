"""The chart, rendered by Helm itself without a cluster and without the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from threads_agent_dagster.local.dagster_home import URL_VARIABLE

CHART = Path(__file__).parents[2] / "helm" / "threads-agent"
RELEASE, NAMESPACE = "ta", "apps"
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}

Values = Mapping[str, Any]
Object = dict[str, Any]

LEAST: Values = {"database": {"existingSecret": "least-db"}}
OWN: Values = {
    "fullnameOverride": "platform",
    "image": {"repository": "registry.example/team/platform", "digest": f"sha256:{'0a' * 32}", "pullSecrets": ["pull"]},
    "database": {"existingSecret": "own-db", "urlKey": "uri", "dagsterUrlKey": "dagster-uri", "port": 6432},
    "github": {"existingSecret": "own-github", "webhookSecretKey": "hook"},
    "api": {"orchestrator": {"replicas": 3}},
    "networkPolicy": {
        "database": [{"ipBlock": {"cidr": "192.0.2.10/32"}}],
        "kubernetesApi": [{"ipBlock": {"cidr": "192.0.2.20/32"}}],
        "apiClients": [PEER],
        "dashClients": [PEER],
    },
}


@dataclass(frozen=True)
class Chart:
    """One set of values and what Helm makes of it."""

    values: Values
    release: str = RELEASE

    def with_values(self, **changes: Any) -> Chart:
        return Chart({**self.values, **changes}, self.release)

    @cached_property
    def objects(self) -> list[Object]:
        """Every rendered object. Raises HelmError when Helm refuses."""
        with helm_python.Chart.load(CHART) as chart:
            files = chart.render(dict(self.values), name=self.release, namespace=NAMESPACE)
        texts = [text for name, text in files.items() if name.endswith(".yaml")]
        return [one for text in texts for one in yaml.safe_load_all(text) if one is not None]

    def of_kind(self, kind: str) -> dict[str, Object]:
        """Objects of a kind by the end of their name, which names the component."""
        found = [one for one in self.objects if one["kind"] == kind]
        return {one["metadata"]["name"].removeprefix(f"{self.fullname}-"): one for one in found}

    @property
    def fullname(self) -> str:
        return str(self.values.get("fullnameOverride") or f"{self.release}-threads-agent")

    @property
    def image(self) -> str:
        return str(self.of_kind("Deployment")["dash"]["spec"]["template"]["spec"]["containers"][0]["image"])

    def dagster_file(self, name: str) -> str:
        """The text of dagster.yaml or workspace.yaml."""
        return str(self.of_kind("ConfigMap")["dagster"]["data"][name])


def _all_values() -> dict[str, Values]:
    dev = helm_python.values_from_yaml((CHART / "values-dev.yaml").read_text())
    return {"least": LEAST, "own": OWN, "dev": dev}


@pytest.fixture(scope="session", params=["least", "own", "dev"])
def chart(request: pytest.FixtureRequest) -> Chart:
    """The chart with each set of values in turn."""
    return Chart(_all_values()[request.param])


@pytest.fixture(scope="session")
def least() -> Chart:
    """The chart with nothing but what it cannot do without."""
    return Chart(LEAST)


@pytest.fixture(scope="session")
def own() -> Chart:
    """The chart with names and addresses of one's own everywhere."""
    return Chart(OWN)


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    """values.yaml."""
    with helm_python.Chart.load(CHART) as chart:
        return chart.values


@pytest.fixture(scope="session")
def instance_folder(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The chart's DAGSTER_HOME as a pod sees it, with the variable that its storage reads."""
    folder = tmp_path_factory.mktemp("dagster")
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_text(chart.dagster_file(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, "postgresql+psycopg2://nobody@127.0.0.1:1/none")
        yield folder


@pytest.fixture(scope="session")
def launcher(instance_folder: Path) -> Any:
    """The run launcher that Dagster makes of the ConfigMap; only its look for a cluster is left out."""
    from dagster._core.instance.ref import InstanceRef

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
        return InstanceRef.from_dir(str(instance_folder)).run_launcher


@pytest.fixture(scope="session")
def run_job(launcher: Any) -> Object:
    """The Job that the launcher would create for a run."""
    return _job(launcher)


def _job(launcher: Any) -> Object:
    import kubernetes.client
    from dagster import DagsterRun
    from dagster_k8s.job import construct_dagster_k8s_job

    context = launcher.get_container_context_for_run(DagsterRun(job_name="content_chain"))
    config = context.get_k8s_job_config(job_image=None, run_launcher=launcher)
    job = construct_dagster_k8s_job(config, ["dagster"], "run", context.run_k8s_config, component="run_worker")
    done: Object = kubernetes.client.ApiClient().sanitize_for_serialization(job)
    return done


@pytest.fixture(scope="session")
def pods(chart: Chart, run_job: Object) -> dict[str, Object]:
    """Every pod template there is, by component: deployments, the migration, and runs."""
    owners = {**chart.of_kind("Deployment"), **chart.of_kind("Job"), "run": run_job}
    return {name: owner["spec"]["template"] for name, owner in owners.items()}


@pytest.fixture(autouse=True, scope="session")
def schemas_read_once() -> Iterator[None]:
    """kubernetes-validate reads 2 MB of definitions for each object."""
    from kubernetes_validate import utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.fixture(scope="session")
def chart_folder() -> Path:
    """Where the chart is."""
    return CHART
