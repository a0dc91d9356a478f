"""Fixtures of the tests that drive the page; `service`, the running service, comes from tests/conftest.py."""

from collections.abc import Iterator
from typing import Protocol

import pytest
from selenium import webdriver

from tests.app.browser import Page, chromium


class Service(Protocol):
    """What the fixture `service` gives, as far as a browser cares."""

    url: str


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for all tests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def page(driver: webdriver.Chrome, service: Service) -> Page:
    """The page of the real service, freshly loaded, 1200 pixels wide in the light scheme."""
    opened = Page(driver)
    opened.emulate(width=1200, scheme="light")
    opened.open(service.url)
    return opened
