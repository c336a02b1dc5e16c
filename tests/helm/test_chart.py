"""The chart as Helm renders it: valid for Kubernetes, hardened, least privileged, in step with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from threads_agent_dagster.local import dagster_home
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.settings import Settings, variable_name

Object = dict[str, Any]

APIS = {"orchestrator", "achievements", "prompts"}
LAUNCHERS = {"webserver", "daemon"}
COMPONENTS = APIS | LAUNCHERS | {"dash", "code"}
WARNING = 2  # of helm lint
OF_THIS_POD = {"local_artifact_storage", "compute_logs", "run_launcher"}  # what differs between a machine and a cluster


def _containers(pod: Object) -> list[Object]:
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def _environment(pod: Object) -> dict[str, Object]:
    return {one["name"]: one for container in _containers(pod) for one in container["env"]}


# Rendering


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])  # the oldest that Chart.yaml admits, and the newest known
def test_every_object_is_valid(chart: Any, run_job: Object, version: str) -> None:
    for one in [*chart.objects, run_job]:
        assert kubernetes_validate.validate(one, version, strict=True) == version


def test_helm_lint_has_nothing_to_say(chart: Any, chart_folder: Any) -> None:
    report = helm_python.lint(chart_folder, dict(chart.values), strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] >= WARNING] == []


def test_all_parts_are_there(chart: Any) -> None:
    assert set(chart.of_kind("Deployment")) == COMPONENTS
    assert set(chart.of_kind("Service")) == COMPONENTS - {"daemon"}
    assert set(chart.of_kind("Job")) == {"migration"}


def test_names_are_unique_and_in_the_release_s_namespace(chart: Any) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in chart.objects]
    assert len(names) == len(set(names))
    assert all("namespace" not in one["metadata"] for one in chart.objects)


def test_names_stay_within_a_dns_label_whatever_the_release_is_called(least: Any) -> None:
    longest = type(least)(least.values, release="r" * 53)
    assert max(len(one["metadata"]["name"]) for one in longest.objects) <= 63


# Values


def test_a_missing_database_secret_is_named(least: Any) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"database\.existingSecret"):
        least.with_values(database={}).objects  # noqa: B018


def _mappings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        yield path
        for key, below in value.items():
            yield from _mappings(below, (*path, key))


def test_every_level_of_the_values_refuses_what_it_does_not_know(least: Any, defaults: Object) -> None:
    paths = list(_mappings(defaults))
    assert len(paths) > 20
    for path in paths:
        changes: Any = {"unknown": 1}
        for key in reversed(path):
            changes = {key: changes}
        with pytest.raises(helm_python.HelmValuesError, match="unknown"):
            least.with_values(**changes).objects  # noqa: B018


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"tag": "latest"}},
        {"image": {"repository": "registry.example/platform:latest"}},
        {"image": {"digest": "sha256:short"}},
        {"logLevel": "LOUD"},
        {"api": {"prompts": {"replicas": 0}}},
        {"daemon": {"replicas": 2}},
        {"database": {"existingSecret": "db", "url": "postgresql://u:p@h/d"}},
        {"networkPolicy": {"dns": []}},
        {"networkPolicy": {"apiClients": [{}]}},  # an empty peer is everybody
    ],
)
def test_the_schema_refuses(least: Any, changes: Object) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        least.with_values(**changes).objects  # noqa: B018


def test_a_digest_decides_over_a_tag(own: Any, least: Any) -> None:
    assert own.image == f"registry.example/team/platform@sha256:{'0a' * 32}"
    assert least.with_values(image={"tag": "1.2.3"}).image == "threads-agent-dagster:1.2.3"


def test_every_pod_runs_the_same_image(chart: Any, pods: dict[str, Object]) -> None:
    assert {container["image"] for pod in pods.values() for container in _containers(pod)} == {chart.image}
    assert not chart.image.endswith(":latest")


# Pods


def test_no_pod_runs_as_root(pods: dict[str, Object]) -> None:
    for pod in pods.values():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert min(context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")) > 10_000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}


def test_no_container_may_gain_or_write(pods: dict[str, Object]) -> None:
    for pod in pods.values():
        for container in _containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_pod_can_write_to_its_own_tmp_only(pods: dict[str, Object]) -> None:
    for pod in pods.values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert all(volume.keys() <= {"name", "emptyDir", "configMap"} for volume in volumes.values())
        for container in _containers(pod):
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            writable = [mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")]
            assert writable == ["/tmp"]
            assert "emptyDir" in volumes["tmp"]


def test_a_pod_is_told_to_write_where_it_can(chart: Any, pods: dict[str, Object]) -> None:
    for pod in pods.values():
        assert _environment(pod)["THREADS_AGENT_HOME"]["value"].startswith("/tmp/")
    config = yaml.safe_load(chart.dagster_file("dagster.yaml"))
    assert config["local_artifact_storage"]["config"]["base_dir"].startswith("/tmp/")


def test_every_container_asks_for_what_it_needs_and_is_limited(pods: dict[str, Object]) -> None:
    for pod in pods.values():
        for container in _containers(pod):
            for side in ("requests", "limits"):
                assert container["resources"][side].keys() >= {"cpu", "memory"}


def test_only_what_launches_runs_has_a_token(pods: dict[str, Object]) -> None:
    assert {name for name, pod in pods.items() if pod["spec"]["automountServiceAccountToken"] is not False} == LAUNCHERS


def test_no_account_hands_out_its_token_unasked(chart: Any) -> None:
    accounts = [one for one in chart.objects if one["kind"] == "ServiceAccount"]
    assert len(accounts) == 3
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_service_links_do_not_overwrite_settings(chart: Any, pods: dict[str, Object]) -> None:
    """A Service `threads-agent-dash` would set THREADS_AGENT_DASH_PORT=tcp://... in every pod."""
    for pod in pods.values():
        assert pod["spec"]["enableServiceLinks"] is False


def test_the_three_probes_differ(chart: Any) -> None:
    for deployment in chart.of_kind("Deployment").values():
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
        assert all(one != other for one, other in zip(probes, probes[1:] + probes[:1], strict=True))


def test_a_restart_follows_livez_and_traffic_follows_readyz(chart: Any) -> None:
    for name in APIS:
        [container] = chart.of_kind("Deployment")[name]["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_there_is_one_daemon_never_two(chart: Any) -> None:
    spec = chart.of_kind("Deployment")["daemon"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_services_reach_their_pods_on_the_ports_of_the_settings(chart: Any, pods: dict[str, Object]) -> None:
    expected = {name: Settings.model_fields[f"{name}_port"].default for name in APIS | {"dash"}}
    expected |= {"webserver": Settings.model_fields["dagster_port"].default, "code": 4000}
    for name, service in chart.of_kind("Service").items():
        assert service["spec"]["type"] == "ClusterIP"
        [port] = service["spec"]["ports"]
        assert port["port"] == expected[name]
        reached = [
            pod for pod, one in pods.items() if service["spec"]["selector"].items() <= one["metadata"]["labels"].items()
        ]
        assert reached == [name]
        [listening] = _containers(pods[name])[0]["ports"]
        assert (listening["name"], listening["containerPort"]) == (port["targetPort"], port["port"])


def test_deployments_select_their_own_pods(chart: Any) -> None:
    for deployment in chart.of_kind("Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


# Environment and secrets


def test_every_variable_is_a_setting_or_dagster_s(pods: dict[str, Object], tmp_path: Any) -> None:
    of_dagster = dagster_home.environment(Home(tmp_path), Settings(), "postgresql://h/d")
    known = {variable_name(field) for field in Settings.model_fields} | set(of_dagster)
    for pod in pods.values():
        assert _environment(pod).keys() <= known
        for name in ("DAGSTER_EVENT_BATCH_SIZE", "DAGSTER_DISABLE_TELEMETRY"):
            if name in _environment(pod):
                assert _environment(pod)[name]["value"] == of_dagster[name]


def test_a_secret_comes_from_a_secret(pods: dict[str, Object]) -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    names = {variable_name(field) for field in secret} | {dagster_home.URL_VARIABLE}
    assert "DATABASE_URL" in names
    for pod in pods.values():
        for name, variable in _environment(pod).items():
            assert ("value" in variable) is (name not in names), name


def test_secrets_are_the_users_own(own: Any, least: Any) -> None:
    assert not any(one["kind"] == "Secret" for one in own.objects)
    for name, deployment in own.of_kind("Deployment").items():
        environment = _environment(deployment["spec"]["template"])
        assert environment["DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "own-db", "key": "uri"}
        if name in {"orchestrator", "achievements"}:
            hook = environment["GITHUB_WEBHOOK_SECRET"]["valueFrom"]["secretKeyRef"]
            assert hook == {"name": "own-github", "key": "hook"}
        else:
            assert "GITHUB_WEBHOOK_SECRET" not in environment
    assert "GITHUB_WEBHOOK_SECRET" not in str(least.objects)


def test_config_maps_hold_names_of_secrets_only(chart: Any) -> None:
    [config] = [one for one in chart.objects if one["kind"] == "ConfigMap"]
    text = "\n".join(config["data"].values())
    assert not re.search(r"postgres(ql)?(\+\w+)?://|password", text, re.IGNORECASE)


# Rights and flows


def _calls_of_the_launcher() -> set[tuple[str, str]]:
    """What Dagster asks of Kubernetes to launch, watch, explain and end a run: (resource, verb)."""
    from unittest.mock import MagicMock

    from dagster_k8s.client import DagsterKubernetesClient

    batch, core = MagicMock(), MagicMock()
    pod = MagicMock()
    pod.metadata.name = "pod"
    pod.spec.containers[0].name = "dagster"
    core.list_namespaced_pod.return_value.items = [pod]
    client = DagsterKubernetesClient.production_client(batch_api_override=batch, core_api_override=core)
    client.create_namespaced_job_with_retries(body=MagicMock(), namespace="apps")
    client.get_job_status(job_name="job", namespace="apps")
    client.get_pod_debug_info("pod", "apps")
    client.get_job_debug_info("job", "apps")
    client.retrieve_pod_logs("pod", "apps")
    client.delete_job("job", "apps")
    called = {name for name, _, _ in [*batch.method_calls, *core.method_calls]}
    return {_resource(name) for name in called}


def _resource(method: str) -> tuple[str, str]:
    verb, rest = method.split("_namespaced_")
    noun, _, part = rest.partition("_")
    resource = f"{noun}s/{part}" if part else f"{noun}s"
    return resource, {"read": "get"}.get(verb, verb)


def test_the_role_grants_exactly_what_the_launcher_calls(chart: Any) -> None:
    [role] = [one for one in chart.objects if one["kind"] == "Role"]
    granted = {(what, verb) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    assert granted == _calls_of_the_launcher() - {("events", "list")}  # Dagster does without: it only explains failures


def test_rights_end_at_the_namespace(chart: Any, pods: dict[str, Object]) -> None:
    assert not any(one["kind"].startswith("Cluster") for one in chart.objects)
    [binding] = [one for one in chart.objects if one["kind"] == "RoleBinding"]
    [subject] = binding["subjects"]
    assert subject["namespace"] == "apps"
    assert {name for name, pod in pods.items() if pod["spec"]["serviceAccountName"] == subject["name"]} == LAUNCHERS
    created = {one["metadata"]["name"] for one in chart.objects if one["kind"] == "ServiceAccount"}
    assert {pod["spec"]["serviceAccountName"] for pod in pods.values()} == created


def _selects(selector: Object, labels: Object) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def _rules(chart: Any, pod: Object, direction: str) -> list[Object]:
    """The rules that let something pass to (ingress) or from (egress) a pod."""
    policies = [one["spec"] for one in chart.objects if one["kind"] == "NetworkPolicy"]
    mine = [policy for policy in policies if _selects(policy["podSelector"], pod["metadata"]["labels"])]
    assert any(direction.capitalize() in policy["policyTypes"] for policy in mine), "nothing denies by default"
    return [rule for policy in mine for rule in policy.get(direction, [])]


def _ports(rules: list[Object]) -> set[int | str]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_everything_is_denied_both_ways_unless_named(chart: Any, pods: dict[str, Object]) -> None:
    policies = chart.of_kind("NetworkPolicy")
    assert "ingress" not in policies["deny"]["spec"]
    assert "egress" not in policies["deny"]["spec"]
    assert policies["deny"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all(_selects(policies["deny"]["spec"]["podSelector"], pod["metadata"]["labels"]) for pod in pods.values())
    assert all(rule.get("ports") for pod in pods.values() for rule in _rules(chart, pod, "egress"))


def test_nobody_reaches_dagster_but_dagster(chart: Any, pods: dict[str, Object]) -> None:
    for name in (*LAUNCHERS, "run", "migration"):
        assert _rules(chart, pods[name], "ingress") == []
    [rule] = _rules(chart, pods["code"], "ingress")
    [peer] = rule["from"]
    assert {name for name, pod in pods.items() if _selects(peer["podSelector"], pod["metadata"]["labels"])} == LAUNCHERS
    assert not any(one["kind"] in {"Ingress", "HTTPRoute"} for one in chart.objects)


def test_the_way_out_leads_to_names_the_database_and_for_launchers_kubernetes(
    chart: Any, pods: dict[str, Object], defaults: Object
) -> None:
    database = chart.values["database"].get("port", defaults["database"]["port"])
    for name, pod in pods.items():
        expected = {53, database} | ({443, 6443, 4000} if name in LAUNCHERS else set())
        assert _ports(_rules(chart, pod, "egress")) == expected, name


def test_only_named_clients_reach_the_api_and_the_dashboard(own: Any, least: Any) -> None:
    for name in (*APIS, "dash"):
        assert _rules(least, least.of_kind("Deployment")[name]["spec"]["template"], "ingress") == []
        [rule] = _rules(own, own.of_kind("Deployment")[name]["spec"]["template"], "ingress")
        assert rule["from"] == own.values["networkPolicy"]["apiClients"]


def test_addresses_narrow_the_way_out(own: Any) -> None:
    rules = _rules(own, own.of_kind("Deployment")["daemon"]["spec"]["template"], "egress")
    assert all("to" in rule for rule in rules)


# Migration


def test_the_migration_comes_first_with_all_it_needs(chart: Any) -> None:
    hooks = [one for one in chart.objects if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights.keys() == {"ServiceAccount", "NetworkPolicy", "Job"}
    assert weights["Job"] > max(weights["ServiceAccount"], weights["NetworkPolicy"])
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"pre-install,pre-upgrade"}
    job = chart.of_kind("Job")["migration"]
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert all("configMap" not in volume for volume in volumes), "no ConfigMap of the release exists yet"


# Dagster


def test_dagster_accepts_its_configuration(instance_folder: Any) -> None:
    from dagster._core.instance.config import dagster_instance_config

    config, _ = dagster_instance_config(str(instance_folder))
    assert config["run_launcher"]["class"] == "K8sRunLauncher"


def test_dagster_is_configured_as_on_one_machine(chart: Any, tmp_path: Any) -> None:
    here = dagster_home.instance_config(Home(tmp_path), Settings(run_launcher="default", _env_file=None))
    there = yaml.safe_load(chart.dagster_file("dagster.yaml"))
    assert there.keys() - OF_THIS_POD == here.keys() - OF_THIS_POD
    assert [key for key in here.keys() - OF_THIS_POD if there[key] != here[key]] == []


def test_dagster_writes_where_a_pod_can(instance_folder: Any) -> None:
    from dagster._core.instance.ref import InstanceRef

    ref = InstanceRef.from_dir(str(instance_folder))
    assert type(ref.compute_log_manager).__name__ == "NoOpComputeLogManager"
    assert ref.local_artifact_storage.base_dir == "/tmp/dagster"


def test_the_workspace_leads_to_the_code_location(chart: Any) -> None:
    [entry] = yaml.safe_load(chart.dagster_file("workspace.yaml"))["load_from"]
    service = chart.of_kind("Service")["code"]
    assert entry["grpc_server"] == {
        "host": service["metadata"]["name"],
        "port": service["spec"]["ports"][0]["port"],
        "location_name": dagster_home.LOCATION,
    }


def test_a_change_of_dagster_s_configuration_restarts_what_reads_it(least: Any) -> None:
    changed = least.with_values(runs={"ttlSecondsAfterFinished": 1})
    for name, deployment in least.of_kind("Deployment").items():
        before, after = (
            one["spec"]["template"]["metadata"].get("annotations")
            for one in (deployment, changed.of_kind("Deployment")[name])
        )
        assert (before != after) is (name in LAUNCHERS | {"code"})


def test_a_run_may_not_choose_its_own_rights(launcher: Any) -> None:
    from dagster import DagsterRun

    tag = '{"container_config": {"security_context": {"privileged": true}}}'
    with pytest.raises(Exception, match="violated the allowed list"):
        launcher.get_container_context_for_run(DagsterRun(job_name="any", tags={"dagster-k8s/config": tag}))


def test_a_run_has_what_the_code_location_has(chart: Any, pods: dict[str, Object]) -> None:
    assert _environment(pods["run"]) == _environment(pods["code"])
    assert pods["run"]["spec"]["volumes"] == pods["code"]["spec"]["volumes"]
