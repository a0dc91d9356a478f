"""What VALENCE_REDIS_URL may say: its shape by the settings, its options by redis-py, both before the start."""

from pathlib import Path

import pytest

from app.scoring.redis import RedisClient
from app.settings import Settings, SettingsError, read_settings, redis_nodes


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://",
        "redis://redis:6380/7",
        "redis://[::1]:6380/",
        "redis://valence:p%40ss%2Fword%3A@redis",
        "redis://redis?db=2&username=u&password=a%26b&client_name=valence&socket_keepalive=no",
        "rediss://redis:6380/0?ssl_cert_reqs=none",
        "rediss://redis?ssl_check_hostname=false&ssl_min_version=771",
        "unix:///run/redis.sock",
        "unix://u:p@/run/a%20b.sock?db=3",
        "redis+sentinel://one,two:26380/mymaster",
        "redis+sentinel://user:p%40ss@one:26379,two,[::1]:26381/my%20master/2?sentinel_password=p",
        "rediss+sentinel://one/mymaster/0?ssl_cert_reqs=none",
        "redis+cluster://127.0.0.1:7000,127.0.0.2",
        "redis+cluster://user:password@127.0.0.1:7000/0",
        "rediss+cluster://127.0.0.1?ssl_check_hostname=no",
    ],
)
def test_good_url_is_taken(url: str) -> None:
    """By the settings and by redis-py, which connects to nobody for it."""
    assert Settings(redis_url=url).redis_url == url
    RedisClient(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://redis", "should start with one of redis://, rediss://, unix://, redis.sentinel://"),
        ("redis:/redis", "should start with one of"),
        ("redis+tls://redis", "should start with one of"),
        ("redis://redis:0", "the port should be a number from 1 to 65535"),
        ("redis://redis:65536", "the port should be a number from 1 to 65535"),
        ("redis://redis:seven", "the port should be a number from 1 to 65535"),
        ("redis+cluster://one:7000,two:x", "the port should be a number from 1 to 65535"),
        ("redis://redis/zero", "should be like redis://host:6379/0"),
        ("redis://redis/-1", "should be like redis://host:6379/0"),
        ("redis+cluster://redis/1", "should be like redis://host:6379/0"),
        ("redis+sentinel://one,two", "should be like .*host2/mymaster/0"),
        ("redis+sentinel://one/mymaster/zero", "should be like"),
        ("unix://", "should be like .*unix:///run/redis/redis.sock"),
        ("redis://[::1", "Invalid IPv6 URL"),
    ],
)
def test_wrong_shape_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    """The message says what is wrong."""
    monkeypatch.setenv("VALENCE_REDIS_URL", url)
    with pytest.raises(SettingsError, match=message):
        read_settings()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://redis?color=blue", "unexpected keyword argument 'color'"),
        ("redis://redis?ssl_cert_reqs=none", "unexpected keyword argument 'ssl_cert_reqs'"),
        ("redis://redis?db=zero", "Invalid value for 'db' in connection URL"),
        ("rediss://redis?ssl_cert_reqs=perhaps", "Invalid SSL Certificate Requirements Flag: perhaps"),
        ("rediss://redis?ssl_ca_certs=/not/there.pem", "No such file or directory"),
        ("rediss://redis?ssl_keyfile=/not/there.pem", "certfile should be a valid filesystem path"),
        ("redis+sentinel://one/mymaster?color=blue", "unexpected keyword argument 'color'"),
        ("redis+sentinel://one/mymaster?sentinel_color=blue", "unexpected keyword argument 'color'"),
        ("redis+cluster://127.0.0.1?color=blue", "unexpected keyword argument 'color'"),
        ("redis+cluster://127.0.0.1?db=1", "'db' must be 0 or None in cluster mode"),
        ("rediss+cluster://127.0.0.1?ssl_ca_certs=/not/there.pem", "No such file or directory"),
    ],
)
def test_option_that_redis_py_does_not_know_is_refused(url: str, message: str) -> None:
    """In one line, before anything is asked of Redis."""
    assert Settings(redis_url=url).redis_url == url
    with pytest.raises(ValueError, match=message) as refused:
        RedisClient(url)
    assert "\n" not in str(refused.value)


def test_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """At the start, not at the first look-up."""
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    with pytest.raises(ValueError, match=r"NO_CERTIFICATE_OR_CRL_FOUND|\[X509\]"):
        RedisClient(f"rediss://redis?ssl_ca_certs={file}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:horse/staple@redis:6379/0",
        "redis://u:horse@redis:staple",
        "unix://u:horse@",
        "redis+cluster://:horse@a:x",
        "redis+sentinel://:horse@a,b?sentinel_password=horse",
        "http://redis?ssl_password=horse&sentinel_password=horse",
    ],
)
def test_message_repeats_no_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Not even a part of one that was not percent-encoded."""
    monkeypatch.setenv("VALENCE_REDIS_URL", url)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert "horse" not in str(refused.value)


def test_nodes_are_read() -> None:
    """Every host with its port, or the usual one."""
    nodes = redis_nodes("user:pass@one:7000,two,[::1]:7002,[::2]", 6379)
    assert nodes == [("one", 7000), ("two", 6379), ("::1", 7002), ("::2", 6379)]
