"""A user at the page: headless Chromium, real keys, and what is then to be seen.

Selenium is given both executables, so it never looks for a driver of its own.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_SECONDS = 120
"""How long a condition may take to come true; reached only by a failing test."""

ROWS = """
return [...document.querySelectorAll("#results > li")].map((row) => ({
  line: row.querySelector(".line").textContent,
  text: row.querySelector(".text").textContent,
  label: row.querySelector(".label").textContent,
  truncated: !row.querySelector(".truncated").hidden,
  windows: row.querySelector(".windows").hidden ? "" : row.querySelector(".windows").textContent,
  bars: [...row.querySelectorAll(".bars li")].map((bar) => [
    bar.querySelector(".name").textContent,
    bar.querySelector(".score").textContent,
    bar.querySelector(".fill").offsetWidth / bar.querySelector(".track").offsetWidth,
  ]),
}));
"""


class Page:
    """The open page: what a user does to it, and what they then see."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Forget what the console said before, and load the page."""
        self.console()
        self.driver.get(url.rstrip("/") + "/")

    def type(self, keys: str) -> None:
        """Type into the text box, key by key."""
        self.driver.find_element(By.ID, "texts").send_keys(keys)

    def paste(self, text: str) -> None:
        """Replace the text box's content at once."""
        script = "texts.value = arguments[0]; texts.dispatchEvent(new Event('input'))"
        self.driver.execute_script(script, text)

    def click(self, element_id: str) -> None:
        """Click the element with this id."""
        self.driver.find_element(By.ID, element_id).click()

    def emulate(self, width: int, scheme: str) -> None:
        """Give the page a viewport of this width in CSS pixels and a colour scheme; animations are always off."""
        metrics = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
        media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def rows(self) -> list[dict[str, Any]]:
        """The results, read in one step: line, text, label, truncated, bars as [label, score, share of the track]."""
        rows: list[dict[str, Any]] = self.driver.execute_script(ROWS)
        return rows

    def visible_text(self, element_id: str) -> str:
        """What the element shows; empty while it is hidden."""
        return self.driver.find_element(By.ID, element_id).text

    def await_rows(self, *texts: str) -> list[dict[str, Any]]:
        """Wait until exactly these texts are scored, and give their rows."""
        self.wait(lambda: [row["text"] for row in self.rows()] == list(texts))
        return self.rows()

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; fail with what the page shows if it never does."""
        try:
            WebDriverWait(self.driver, TIMEOUT_SECONDS, poll_frequency=0.05).until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"in vain; the page shows {self.rows()} and the error {self.visible_text('error')!r}")

    def console(self) -> list[dict[str, Any]]:
        """Errors and warnings since the last call; breaches of the content security policy are among them."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return entries


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with an empty profile. Skips the test where Chromium or its driver is missing."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_argument(f"--user-data-dir={profile}")
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):  # Chromium has no sandbox for root
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()
