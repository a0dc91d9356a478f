"""The page at `/` of a tabular model: its fields, what they say, and that nothing breaks the page's own policy."""

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.browser import Page
from tests.conftest import Service


@pytest.fixture
def table(driver: webdriver.Chrome, wine: Service) -> Page:
    """The page of the bundled tabular model."""
    opened = Page(driver)
    opened.emulate(width=1200, scheme="light")
    opened.open(wine.url)
    opened.wait(lambda: opened.visible_text("verdict"))
    return opened


def type_into(page: Page, name: str, keys: str) -> None:
    """Replace the number of the field with this label."""
    label = page.driver.find_element(By.XPATH, f"//label[span[text()='{name}']]")
    field = page.driver.find_element(By.ID, str(label.get_attribute("for")))
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(keys or Keys.DELETE)


def test_every_column_has_a_field_and_the_row_a_prediction(table: Page) -> None:
    """Each with its unit and range; grades with their scores, nothing on the console."""
    fields = table.driver.find_elements(By.CSS_SELECTOR, "#row input")
    assert len(fields) == 11
    assert "8.4 to 14.9 % vol" in table.visible_text("row")
    assert table.visible_text("verdict").startswith("quality: ")
    assert len(table.driver.find_elements(By.CSS_SELECTOR, "#bars li")) == 6
    assert table.console() == []


def test_value_outside_the_range_is_pointed_out_and_an_empty_field_asked_for(table: Page) -> None:
    """As it is typed."""
    type_into(table, "alcohol", "40")
    table.wait(lambda: table.visible_text("outside") == "Not trained on such values: alcohol")
    type_into(table, "alcohol", "1e300")
    table.wait(lambda: "alcohol: Input should be less than" in table.visible_text("error"))
    assert table.visible_text("verdict") == ""
    type_into(table, "alcohol", "")
    table.wait(lambda: table.visible_text("error") == "alcohol: there is no number")
    type_into(table, "alcohol", "11")
    table.wait(lambda: table.visible_text("verdict").startswith("quality: "))
    assert table.visible_text("outside") == ""
