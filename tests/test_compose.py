"""The stack on one machine: docker-compose.yml and the folder compose, as far as they can be judged without Docker."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.compose_file import COMPOSE, SERVICES, TEXT, VARIABLE, Node, host_path, mounts, schema
from tests.conftest import ROOT

ONE_SHOT = "k6"
WITHOUT_HEALTHCHECK = {ONE_SHOT, "redis-exporter"}
"""Ends by itself; and an image without anything that could ask."""
DATASOURCES = yaml.safe_load((ROOT / "compose/grafana/provisioning/datasources/datasources.yaml").read_text("utf-8"))
SCRAPED = yaml.safe_load((ROOT / "compose/prometheus/prometheus.yml").read_text(encoding="utf-8"))
JAEGER = yaml.safe_load((ROOT / ".k8s/components/tracing/jaeger/jaeger.yaml").read_text(encoding="utf-8"))


def manifests() -> Iterator[Node]:
    """Every object in the files of .k8s."""
    for file in sorted((ROOT / ".k8s").rglob("*.yaml")):
        yield from (item for item in yaml.safe_load_all(file.read_text(encoding="utf-8")) if isinstance(item, dict))


def containers() -> dict[str, Node]:
    """Containers of the Deployments and Jobs in .k8s, by their image."""
    workloads = [item for item in manifests() if item.get("kind") in ("Deployment", "Job")]
    specs = [item["spec"]["template"]["spec"] for item in workloads if "spec" in item]  # the canary's is a copy
    return {item["image"]: item for spec in specs for item in spec["containers"] if "image" in item}


def test_file_passes_the_schema_of_the_specification() -> None:
    """Every key is one that Compose knows, with a value of the right kind."""
    jsonschema.Draft202012Validator(schema()).validate(COMPOSE)


def test_an_unknown_key_is_refused() -> None:
    """Proves that the check can fail."""
    wrong = {**COMPOSE, "services": {"api": {**SERVICES["api"], "memory": "512M"}}}
    with pytest.raises(jsonschema.ValidationError, match="memory"):
        jsonschema.Draft202012Validator(schema()).validate(wrong)


def test_compose_accepts_the_file() -> None:
    """As the tool itself reads it, where it is installed."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--profile", "load", "--profile", "training", "config", "--quiet"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert not answer.stderr


def test_stack_has_every_part() -> None:
    """What the stack promises, the load generators and the training service by profile only."""
    assert set(SERVICES) == {
        *("api", "redis", "redis-exporter", "prometheus", "grafana", "jaeger", "mlflow", "training", "locust", "k6")
    }
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"training", "locust", "k6"}


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned_and_the_same_as_in_the_cluster(name: str) -> None:
    """A tag with a version; where .k8s runs the same image, the same tag."""
    repository, _, tag = SERVICES[name]["image"].rpartition(":")
    assert repository
    assert re.search(r"\d", tag) or repository.startswith("localhost/")
    for image in containers():
        if image.startswith(f"{repository}:"):
            assert image == SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name: str) -> None:
    """Read-only root, no capability, bounded CPU, memory and log, restarted unless it ends by itself, and watched."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert service["restart"] == ("no" if name == ONE_SHOT else "unless-stopped")
    assert ("healthcheck" in service) == (name not in WITHOUT_HEALTHCHECK)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    """Every published port is bound to 127.0.0.1, and no two share one."""
    ports = [port.split(":") for service in SERVICES.values() for port in service.get("ports", [])]
    assert len({port for _, port, _ in ports}) == len(ports)
    assert all(address == "127.0.0.1" for address, _, _ in ports)
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_exist_and_are_read_only(name: str) -> None:
    """Files of the repository are there and cannot be written; named volumes are declared."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, options = volume.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert options.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_every_variable_has_a_default() -> None:
    """`make up` needs no file of settings."""
    assert all(default is not None for default in (match[2] for match in VARIABLE.finditer(TEXT)))


def test_settings_of_the_api_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each VALENCE_ variable has a field, and its value passes."""
    variables = SERVICES["api"]["environment"]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in variables if name.startswith(PREFIX)} <= known
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings()
    assert settings.redis_url == "redis://:local@redis:6379/0"


def test_api_and_redis_are_as_in_the_cluster() -> None:
    """The same limits; Redis with the same script, configuration and password variable."""
    redis = containers()[SERVICES["redis"]["image"]]
    for name, container in (("api", containers()["valence"]), ("redis", redis)):
        limits = SERVICES[name]["deploy"]["resources"]["limits"]
        ours = {"cpu": f"{float(limits['cpus']) * 1000:.0f}m", "memory": f"{limits['memory']}i"}
        assert ours == container["resources"]["limits"]
    assert SERVICES["redis"]["entrypoint"] == redis["command"]
    assert SERVICES["redis"]["command"] == redis["args"]
    assert mounts(SERVICES["redis"]) == [("./.k8s/base/redis/redis.conf", "/etc/valence-redis/redis.conf")]


def test_api_waits_for_nothing() -> None:
    """Redis is a cache and Jaeger a spectator; the load generators wait for the API, and trainings for MLflow."""
    waiting = {name: set(service["depends_on"]) for name, service in SERVICES.items() if "depends_on" in service}
    assert waiting == {"locust": {"api"}, "k6": {"api"}, "training": {"mlflow"}}


def test_mlflow_answers_to_the_name_that_trainings_call_it_by() -> None:
    """It refuses every Host that it was not told of, but for loopback and private addresses."""
    (hosts,) = (word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts="))
    called = SERVICES["training"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert {called, "127.0.0.1:*"} <= set(hosts.removeprefix("--allowed-hosts=").split(","))


def test_load_generators_run_the_scripts_of_the_cluster() -> None:
    """k6 and Locust get the folder `load`; what they are told to run is there."""
    for name, script in (("k6", "/scripts/load.js"), ("locust", "/scripts/load/locust/locustfile.py")):
        assert script in SERVICES[name]["command"]
        found = host_path(SERVICES[name], script)
        assert found
        assert (ROOT / found).is_file()
    k6 = containers()[SERVICES["k6"]["image"]]
    assert SERVICES["k6"]["command"] == k6["args"]


def test_prometheus_scrapes_what_runs_with_the_labels_of_the_cluster() -> None:
    """Every target is a service of the stack; job, namespace and pod are set, which rules and dashboards go by."""
    jobs = {job["job_name"]: job["static_configs"] for job in SCRAPED["scrape_configs"]}
    assert set(jobs) == {"valence", "valence-redis", "prometheus"}
    for job, groups in jobs.items():
        for group in groups:
            assert {target.split(":")[0] for target in group["targets"]} <= {*SERVICES, "localhost"}, job
            assert {"namespace", "pod"} <= set(group["labels"])
    assert jobs["valence"][0]["labels"]["version"] == "stable"
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    """The file that the container is told to read, with the rules beside it."""
    (option,) = [item for item in SERVICES["prometheus"]["command"] if item.startswith("--config.file=")]
    file = host_path(SERVICES["prometheus"], option.partition("=")[2])
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    answer = subprocess.run(
        [promtool, "check", "config", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "rules found" in answer.stdout


def test_grafana_gets_the_dashboards_of_the_cluster_and_their_sources() -> None:
    """The sources are services of the stack; exemplars lead to Jaeger; the dashboards are the cluster's own files."""
    sources = {source["uid"]: source for source in DATASOURCES["datasources"]}
    for source in sources.values():
        assert re.match(r"http://([a-z]+):\d+$", source["url"])[1] in SERVICES  # type: ignore[index]
    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert sources[destination["datasourceUid"]]["type"] == "jaeger"
    folder = ROOT / "compose/grafana/provisioning/dashboards/dashboards.yaml"
    (provider,) = yaml.safe_load(folder.read_text(encoding="utf-8"))["providers"]
    assert host_path(SERVICES["grafana"], provider["options"]["path"]) == ".k8s/components/monitoring/dashboards"
    home = host_path(
        SERVICES["grafana"], SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    )
    assert home
    assert (ROOT / home).is_file()


def test_jaeger_listens_where_the_api_sends_its_spans() -> None:
    """OTLP by HTTP; what the pipeline names is configured, and the memory is bounded."""
    endpoint = SERVICES["api"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    port = JAEGER["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert endpoint == f"http://jaeger:{port}"
    assert set(JAEGER["service"]["extensions"]) == set(JAEGER["extensions"])
    assert JAEGER["service"]["pipelines"]["traces"] == {
        "receivers": list(JAEGER["receivers"]),
        "exporters": list(JAEGER["exporters"]),
    }
    (backend,) = JAEGER["extensions"]["jaeger_storage"]["backends"].values()
    assert backend["memory"]["max_traces"] <= 20_000


def make(target: str, **variables: str) -> Any:
    """`make TARGET NAME=VALUE ...`."""
    program = shutil.which("make")
    assert program
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run([program, target, *settings], cwd=ROOT, capture_output=True, text=True, check=False)


def test_make_says_what_is_missing() -> None:
    """Without Docker's plugin: one line that names it, and no trace of a start."""
    answer = make("up", COMPOSE="no-such-compose")
    assert answer.returncode != 0
    assert answer.stderr.startswith("error: 'no-such-compose' is missing: install Docker Engine")


def test_make_runs_compose(tmp_path: Path) -> None:
    """`make up` builds, starts and waits; `make down` stops what has a profile too, and keeps the volumes."""
    program = tmp_path / "compose"
    program.write_text(f'#!/bin/sh\necho "$REVISION|$*" >> {tmp_path}/calls\n', encoding="utf-8")
    program.chmod(0o755)
    assert "http://127.0.0.1:8000/" in make("up", COMPOSE=str(program)).stdout
    assert make("down", COMPOSE=str(program)).returncode == 0
    calls = [line.split("|") for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()]
    down = "--profile load --profile training down"
    assert [arguments for _, arguments in calls] == ["version", "up --build --detach --wait", down]
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", calls[1][0])
