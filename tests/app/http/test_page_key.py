"""The page of a service that asks for keys."""

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.browser import Page
from tests.app.keys.keys import line
from tests.conftest import StartService


def test_the_page_asks_for_a_key(driver: webdriver.Chrome, start_service: StartService, tmp_path: Path) -> None:
    """A field comes with the first refusal; the key stays for the tab, and the model's card comes with it."""
    (tmp_path / "keys").write_text(line("shop", "the-key"))
    started = start_service(VALENCE_API_KEYS_FILE=str(tmp_path / "keys")).wait_ready()
    page = Page(driver)
    page.open(started.url)
    page.wait(lambda: driver.find_element(By.ID, "key-field").is_displayed())
    page.type("A fine film.")
    page.wait(lambda: "asks for an API key" in page.visible_text("error"))
    field = driver.find_element(By.ID, "key")
    field.send_keys("another" + Keys.ENTER)
    page.wait(lambda: "this key is not known" in page.visible_text("error"))
    assert "another" not in page.visible_text("error")
    field.clear()
    field.send_keys("the-key" + Keys.ENTER)
    page.await_rows("A fine film.")
    page.wait(lambda: "max tokens" in page.visible_text("card"))
    page.open(started.url)
    page.paste("Once more.")
    page.await_rows("Once more.")
    assert not driver.find_element(By.ID, "key-field").is_displayed()


def test_the_page_asks_for_none_without_keys(page: Page) -> None:
    """The field is not to be seen."""
    page.paste("A fine film.")
    page.await_rows("A fine film.")
    assert not page.driver.find_element(By.ID, "key-field").is_displayed()
