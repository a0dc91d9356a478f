"""What VALENCE_REDIS_URL may say."""

import ssl
from pathlib import Path

import pytest

from app.redis_url import parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis", ("redis", 6379, "", 0, "", "")),
        ("redis://", ("localhost", 6379, "", 0, "", "")),
        ("redis://redis:6380/7", ("redis", 6380, "", 7, "", "")),
        ("redis://[::1]:6380/", ("::1", 6380, "", 0, "", "")),
        ("redis://:secret@redis/0", ("redis", 6379, "", 0, "", "secret")),
        ("redis://valence:p%40ss%2Fword%3A@redis", ("redis", 6379, "", 0, "valence", "p@ss/word:")),
        ("redis://redis/1?db=2&username=u&password=a%26b", ("redis", 6379, "", 2, "u", "a&b")),
        ("unix:///run/redis.sock", ("", 0, "/run/redis.sock", 0, "", "")),
        ("unix://u:p@/run/a%20b.sock?db=3", ("", 0, "/run/a b.sock", 3, "u", "p")),
    ],
)
def test_url_is_read(url: str, expected: tuple[object, ...]) -> None:
    """Host, port, socket, database, user and password; what is left out has redis-py's defaults."""
    address = parse_redis_url(url)
    assert address[:-1] == expected
    assert address.tls is None


@pytest.mark.parametrize(
    ("query", "mode", "check_hostname"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=required", ssl.CERT_REQUIRED, True),
        ("?ssl_check_hostname=False", ssl.CERT_REQUIRED, False),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
    ],
)
def test_certificate_is_checked_unless_told_otherwise(query: str, mode: ssl.VerifyMode, check_hostname: bool) -> None:
    """TLS means a checked certificate."""
    tls = parse_redis_url(f"rediss://redis:6380/0{query}").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (mode, check_hostname)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://redis", "should start with redis://, rediss:// or unix://"),
        ("redis://redis:0", "the port should be a number from 1 to 65535"),
        ("redis://redis:65536", "the port should be a number from 1 to 65535"),
        ("redis://redis:seven", "the port should be a number from 1 to 65535"),
        ("redis://redis/zero", "the database should be a number"),
        ("redis://redis/-1", "the database should be a number"),
        ("redis://redis?db=99999999999", "the database should be a number"),
        ("redis://redis?ssl_cert_reqs=none", "'ssl_cert_reqs' is no option of redis://; there are db, password"),
        ("redis://redis?timeout=1", "'timeout' is no option of redis://"),
        ("redis://redis?db=1&db=2", "'db' stands there twice"),
        ("redis://[::1", "Invalid IPv6 URL"),
        ("rediss://redis?ssl_cert_reqs=optional", "ssl_cert_reqs='optional' should be required or none"),
        ("rediss://redis?ssl_check_hostname=2", "ssl_check_hostname='2' should be true or false"),
        ("rediss://redis?ssl_keyfile=/key", "ssl_keyfile needs ssl_certfile"),
        ("rediss://redis?ssl_ca_certs=/not/there.pem", "ssl_ca_certs='/not/there.pem': "),
        ("rediss://redis?ssl_certfile=/not/there.pem", "ssl_certfile='/not/there.pem': "),
        ("unix://", "should name a socket"),
    ],
)
def test_wrong_url_is_refused(url: str, message: str) -> None:
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=message):
        parse_redis_url(url)


@pytest.mark.parametrize(
    "url", ["redis://:horse/staple@redis:6379/0", "redis://u:horse@redis:staple", "unix://u:horse@"]
)
def test_message_repeats_no_password(url: str) -> None:
    """Not even a part of one that was not percent-encoded."""
    with pytest.raises(ValueError, match=r"port|socket") as refused:
        parse_redis_url(url)
    assert "horse" not in str(refused.value)


def test_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """At the start, not at the first look-up."""
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    with pytest.raises(ValueError, match=r"ssl_ca_certs='.*ca.pem': "):
        parse_redis_url(f"rediss://redis?ssl_ca_certs={file}")
