"""docs/protocols.md: its commands and its programs give what it says."""

import re
import shlex
from typing import Any

import httpx
import pytest

from tests.app import plain_http
from tests.conftest import ROOT, Service

PAGE = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```bash\n(curl .*)\n```\n\n```json\n(.*)\n```", PAGE)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ADDRESS = "127.0.0.1:8000"


def rounded(value: Any) -> Any:
    """JSON with its numbers to three digits, as far as CPUs agree."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


@pytest.mark.parametrize(("command", "answer"), COMMANDS)
def test_commands_are_answered_so(service: Service, command: str, answer: str) -> None:
    """Each curl line gives the JSON below it."""
    *_, url, _, body = shlex.split(command)
    given = plain_http.post(url.replace(f"http://{ADDRESS}", service.url), content=body).json()
    assert given == rounded(httpx.Response(200, text=answer).json())


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(service: Service, program: str) -> None:
    """With public clients, unchanged."""
    exec(program.replace(ADDRESS, service.url.removeprefix("http://")), {})  # noqa: S102 - the page's own


def test_something_was_tried() -> None:
    """An example of each protocol."""
    assert (len(COMMANDS), len(PROGRAMS)) == (2, 2)
