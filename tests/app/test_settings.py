"""What the environment may say."""

import pytest

from app.settings import Settings, SettingsError, read_settings, unknown_variables


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VALENCE_MAX_TEXTS", "0"),
        ("VALENCE_MAX_TEXTS", "many"),
        ("VALENCE_BIND", "8000"),
        ("VALENCE_BIND", "127.0.0.1:65536"),
        ("VALENCE_METRICS_BIND", "[::1]"),
        ("VALENCE_ROOT_PATH", "valence"),
        ("VALENCE_ROOT_PATH", "/valence/"),
        ("VALENCE_ROOT_PATH", '/"><script>'),
        ("VALENCE_CORS_ORIGINS", "https://app.example.com/"),
        ("VALENCE_CORS_ORIGINS", "app.example.com"),
        ("VALENCE_TIMEOUT", "-1"),
        ("VALENCE_LOG_LEVEL", "loud"),
        ("VALENCE_LOG_TEXTS", "perhaps"),
        ("VALENCE_CACHE_TTL_SECONDS", "0"),
        ("VALENCE_REDIS_URL", "redis://redis:port/0"),
        ("VALENCE_DRIFT_WINDOW_TEXTS", "499"),
        ("VALENCE_DRIFT_WINDOW_TEXTS", "50001"),
        ("VALENCE_DRIFT_WINDOW_SECONDS", "59"),
    ],
)
def test_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The message names the variable and the value that it had."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert f"{name}='{value}': " in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("VALENCE_MAX_TEXTS", "0", "Input should be greater than or equal to 1"),
        ("VALENCE_LOG_LEVEL", "loud", "Input should be 'debug', 'info', 'warning' or 'error'"),
        ("VALENCE_DRAIN_SECONDS", "nan", "Input should be less than or equal to 300"),
        ("VALENCE_TIMEOUT", "inf", "Input should be less than or equal to 3600"),
    ],
)
def test_message_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str) -> None:
    """And nothing else."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert str(refused.value) == f"{name}='{value}': {reason}"


@pytest.mark.parametrize("texts", [0, 500, 50_000])
def test_drift_window_is_off_or_large_enough(monkeypatch: pytest.MonkeyPatch, texts: int) -> None:
    """A window that could never say anything is refused above; these are not."""
    monkeypatch.setenv("VALENCE_DRIFT_WINDOW_TEXTS", str(texts))
    assert read_settings().drift_window_texts == texts


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faults are reported together, not one start after the other."""
    monkeypatch.setenv("VALENCE_MAX_TEXTS", "0")
    monkeypatch.setenv("VALENCE_THREADS", "x")
    with pytest.raises(SettingsError, match=r"VALENCE_THREADS='x'.*; VALENCE_MAX_TEXTS='0'"):
        read_settings()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@redis:6379/0", "http://***@redis:6379/0"),
        ("redis://:se/secret@redis:6379/0", "redis://***@redis:6379/0"),
        ("http://redis?password=secret&db=one", "http://redis?password=***&db=one"),
        ("http://redis?db=one&sentinel_password=secret", "http://redis?db=one&sentinel_password=***"),
    ],
)
def test_password_is_not_shown(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    """A wrong URL is named without its credentials, even if they are not percent-encoded."""
    monkeypatch.setenv("VALENCE_REDIS_URL", url)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert f"VALENCE_REDIS_URL='{shown}': " in str(refused.value)
    assert "secret" not in str(refused.value)


def test_mistyped_names_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with our prefix that nothing reads is reported, the others are not."""
    monkeypatch.setenv("VALENCE_CACHE_TLL_SECONDS", "10")
    monkeypatch.setenv("VALENCE_CACHE_TTL_SECONDS", "10")
    assert unknown_variables() == ["VALENCE_CACHE_TLL_SECONDS"]


def test_every_setting_has_a_description() -> None:
    """The text under each field is what the README's table and an operator read."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
