"""The file of API keys: what it may hold, what is said of a wrong one, and the command that makes its lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.keys.file import MAX_KEYS, Limits, digest_of, parse_line, read_keys
from app.settings import SettingsError
from tests.conftest import ROOT

DIGEST = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32


def test_comments_limits_and_two_keys_of_one_caller(tmp_path: Path) -> None:
    """Blank lines and comments are nothing; limits may be left away; a name may come again with the same limits."""
    file = tmp_path / "keys"
    limits = "texts_per_second=50 burst=100 texts_per_day=1000"
    third = "sha256:" + "c3" * 32
    file.write_text(f"# who\n\nshop {DIGEST} {limits}\n  shop\t{OTHER} {limits}\nintern {third}\n")
    shop, new, intern = read_keys(file)
    assert shop.limits == new.limits == Limits(texts_per_second=50, burst=100, texts_per_day=1000)
    assert (shop.digest, intern.limits) == (bytes.fromhex("a1" * 32), Limits())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shop", "line 1: behind the name should stand sha256:"),
        (f"# x\nsh/op {DIGEST}", "line 2: the name should be"),
        ("shop sha256:a1", "line 1: behind the name should stand sha256:"),
        (f"shop {DIGEST} texts=5", "line 1: behind the digest may stand texts_per_second, burst, texts_per_day"),
        (f"shop {DIGEST} texts_per_day=0", "line 1: texts_per_day='0': should be a whole number from 1 to"),
        (f"shop {DIGEST} texts_per_day=1e3", "line 1: texts_per_day='1e3'"),
        (f"shop {DIGEST} burst=5", "line 1: burst says nothing without texts_per_second"),
        (f"shop {DIGEST} texts_per_day=5 texts_per_day=6", "line 1: behind the digest may stand"),
        (f"shop {DIGEST}\nother {DIGEST}", "a digest stands there twice"),
        (f"shop {DIGEST}\nshop {OTHER} texts_per_day=5", "shop has other limits in one line than in another"),
        ("#" * 1_048_577, "more than 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The setting, the file, the line, what it should be."""
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_keys(file)
    assert str(refused.value).startswith(f"VALENCE_API_KEYS_FILE='{file}': {message}")


def test_a_key_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    """Whoever writes the key itself, or it behind the digest, does not find it in the log."""
    file = tmp_path / "keys"
    for line in ("shop valence_secret", f"shop {DIGEST} valence_secret"):
        file.write_text(line)
        with pytest.raises(SettingsError) as refused:
            read_keys(file)
        assert "secret" not in str(refused.value)


def test_the_number_of_keys_is_bounded(tmp_path: Path) -> None:
    """Each caller has series of its own in the metrics."""
    file = tmp_path / "keys"
    file.write_text("".join(f"caller-{number} sha256:{number:064x}\n" for number in range(MAX_KEYS + 1)))
    with pytest.raises(SettingsError, match=f"{MAX_KEYS + 1} keys are more than {MAX_KEYS}"):
        read_keys(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """By the setting."""
    with pytest.raises(SettingsError, match=r"VALENCE_API_KEYS_FILE='.*none': No such file"):
        read_keys(tmp_path / "none")


def test_the_command_makes_a_key_and_its_line() -> None:
    """The line goes to standard output, the key to standard error; the one is the digest of the other."""
    command = [sys.executable, "-m", "app.keys", "shop", "texts_per_second=5"]
    made = [subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True) for _ in range(2)]
    key = parse_line(made[0].stdout)
    assert (key.name, key.limits) == ("shop", Limits(texts_per_second=5))
    secret = made[0].stderr.removesuffix("\n")
    assert key.digest == digest_of(secret.encode())
    assert secret.startswith("valence_")
    assert len(secret) >= 40
    assert secret != made[1].stderr.removesuffix("\n")


@pytest.mark.parametrize("arguments", [[], ["a/b"], ["shop", "burst=5"]])
def test_the_command_refuses_what_the_service_would(arguments: list[str]) -> None:
    """With the reason and the usage, and without a key."""
    command = [sys.executable, "-m", "app.keys", *arguments]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert "usage: python -m app.keys NAME" in ended.stderr
    assert "valence_" not in ended.stderr
