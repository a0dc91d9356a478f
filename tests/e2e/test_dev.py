"""overlays/dev answers, shares its cache, and is locked down as its manifests say."""

import json

import httpx
import pytest

from tests.e2e.stack import Stack, command


def test_predictions_are_right(dev: Stack) -> None:
    """Both labels, the most likely first, for a text that nobody would get wrong."""
    (love, hate) = dev.api[0].predict("I love you.", "I hate you.").json()["predictions"]
    assert [entry["label"] for entry in love] == ["POSITIVE", "NEGATIVE"]
    assert [entry["label"] for entry in hate] == ["NEGATIVE", "POSITIVE"]
    assert sum(entry["score"] for entry in love) == pytest.approx(1)


def test_a_text_scored_by_one_pod_is_a_hit_in_the_other(dev: Stack) -> None:
    """The answer is the same, byte for byte, and comes from Redis."""
    first, second = dev.api
    before = second.metric('valence_cache_texts_total{source="redis"}')
    scored = first.predict("only the first pod has computed this")
    assert scored.headers["X-Cache"] == "0/1"
    repeated = second.predict("only the first pod has computed this")
    assert repeated.headers["X-Cache"] == "1/1"
    assert repeated.content == scored.content
    assert second.metric('valence_cache_texts_total{source="redis"}') == before + 1


def test_half_a_core_gives_one_thread(dev: Stack) -> None:
    """The limit of the overlay arrives in the thread plan, whatever the machine has."""
    for pod in dev.api:
        threads = httpx.get(f"{pod.url}/model/info", timeout=10).json()["threads"]
        assert (threads["quota_cores"], threads["threads"]) == (0.5, 1)


def test_no_process_has_any_privilege(dev: Stack) -> None:
    """Every process of every container: not root, no capability, no way to gain one, system calls filtered."""
    for container in (*dev.api, dev.redis):
        processes = container.processes()
        assert processes
        for process in processes:
            assert "0" not in container.status(process, "Uid")
            assert "0" not in container.status(process, "Gid")
            assert int(container.status(process, "CapBnd")[0], 16) == 0
            assert int(container.status(process, "CapEff")[0], 16) == 0
            assert container.status(process, "NoNewPrivs") == ["1"]
            assert container.status(process, "Seccomp") == ["2"]


def test_the_root_file_system_is_read_only(dev: Stack) -> None:
    """A write fails wherever the process could have had the right to."""
    attempt = "import errno, sys\ntry: open(sys.argv[1], 'w')\nexcept OSError as e: print(errno.errorcode[e.errno])"
    for folder in ("/tmp", "/srv/valence", "/var/tmp", "/venv"):  # noqa: S108 - the container's
        assert dev.api[0].execute("python", "-c", attempt, f"{folder}/file") == "EROFS"
    assert "Read-only" in dev.redis.execute("/bin/sh", "-c", "touch /tmp/file 2>&1 || true")


def test_redis_takes_no_orders_without_the_password(dev: Stack) -> None:
    """And with it, it neither empties nor stops itself."""
    assert "NOAUTH" in dev.redis.execute("redis-cli", "get", "anything")
    assert "unknown command" in dev.redis.execute("redis-cli", "-a", "dev", "--no-auth-warning", "flushall")
    assert dev.redis.execute("redis-cli", "-a", "dev", "--no-auth-warning", "config", "get", "maxmemory-policy") == (
        "maxmemory-policy\nallkeys-lru"
    )


def test_every_line_of_the_log_is_json(dev: Stack) -> None:
    """The servers' and the libraries' lines, too: no library writes, or reports home, on its own."""
    for pod in dev.api:
        lines = command("sh", "-c", f"podman logs {pod.name} 2>&1").splitlines()
        assert lines
        for line in lines:
            assert "event" in json.loads(line), line
