"""The page for a browser, in Chromium, from another origin than the service's."""

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.app.browser import TIMEOUT_SECONDS, chromium
from tests.conftest import Service
from tests.examples.limited import limited


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for this file."""
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def ask(driver: webdriver.Chrome, url: str, key: str, texts: str) -> tuple[list[str], str]:
    """Fill the form in, send it, and give the rows and the error, one of which comes."""
    for field, value in (("url", url), ("key", key), ("texts", texts)):
        driver.find_element(By.ID, field).clear()
        driver.find_element(By.ID, field).send_keys(value)
    driver.find_element(By.TAG_NAME, "button").click()

    def shown(_: object) -> tuple[list[str], str] | None:
        rows = [row.text for row in driver.find_elements(By.CSS_SELECTOR, "#results li")]
        error = driver.find_element(By.ID, "error").text
        return (rows, error) if rows or error else None

    return WebDriverWait(driver, TIMEOUT_SECONDS, poll_frequency=0.05).until(shown)  # type: ignore[return-value]


def test_page_of_another_origin_scores(driver: webdriver.Chrome, pages: str, keyed: Service, service: Service) -> None:
    """Where the service names its origin; it waits when told to, and shows why it is refused."""
    driver.get(f"{pages}/browser.html")
    rows, error = ask(driver, keyed.url, "shop-key", "I love you.\n\n<b>I hate you.</b>")
    assert error == ""
    assert [row.split(" ", 2)[::2] for row in rows] == [
        ["POSITIVE", "I love you."],
        ["NEGATIVE", "<b>I hate you.</b>"],
    ]
    before = limited(keyed, "slow")
    for _ in range(3):
        assert len(ask(driver, keyed.url, "slow-key", "Good.\nBad.\nGood.\nBad.")[0]) == 4
    assert limited(keyed, "slow") > before
    assert "HTTP 401" in ask(driver, keyed.url, "another-key", "Good.")[1]
    assert ask(driver, service.url, "", "Good.") == ([], "Failed to fetch")
