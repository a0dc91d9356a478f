"""The page at `/`, as its user meets it: headless Chromium and the real service over a socket."""

from uuid import uuid4

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.browser import Page

# The WCAG 2 contrast of every text on the page with the nearest background behind it, where it is below AA's 4.5.
LOW_CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const opaque = (colour) => (channels(colour)[3] ?? 1) === 1;
const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const luminance = (colour) => {
  const [r, g, b] = channels(colour).map(linear);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  const { backgroundColor } = getComputedStyle(node);
  return opaque(backgroundColor) ? backgroundColor : behind(node.parentElement);
};
const ratio = (node) => {
  const [dark, light] = [getComputedStyle(node).color, behind(node)].map(luminance).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const texts = [...document.body.querySelectorAll("*")].filter((node) => node.checkVisibility()
  && [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
return [texts.length, texts.filter((node) => ratio(node) < 4.5).map((node) => [node.textContent, ratio(node)])];
"""

# Where everything lies that is not one of the live numbers.
PLACES = """
return [...document.querySelectorAll("body *:not(#live, #live *)")].map((node) => {
  const { left, top, width, height } = node.getBoundingClientRect();
  return [node.tagName, node.id, left, top, width, height];
});
"""
# Texts outside the live numbers that one of these lies over.
OVERLAPS = """
const lines = (root, but) => {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if ((but && but.contains(parent)) || !parent.checkVisibility() || !walker.currentNode.data.trim()) continue;
    const range = document.createRange();
    range.selectNode(walker.currentNode);
    found.push(...[...range.getClientRects()].map((box) => [walker.currentNode.data.trim(), box]));
  }
  return found;
};
const cross = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const others = lines(document.body, live);
const under = (box) => others.filter(([, other]) => cross(box, other)).map(([text]) => text);
return lines(live).flatMap(([text, box]) => under(box).map((other) => [text, other]));
"""


def test_typing_shows_the_label_and_a_bar_for_every_label(page: Page) -> None:
    """A typed text gets its label, and one bar per label, highest first, as long as the score it states."""
    page.type("I love this film.")
    [row] = page.await_rows("I love this film.")
    assert row["label"] == "POSITIVE"
    assert [name for name, _, _ in row["bars"]] == ["POSITIVE", "NEGATIVE"]
    scores = [float(score.removesuffix(" %")) for _, score, _ in row["bars"]]
    assert scores[0] > 90
    assert sum(scores) == pytest.approx(100, abs=0.11)  # each is rounded to a tenth
    assert [share * 100 for _, _, share in row["bars"]] == pytest.approx(scores, abs=0.5)  # tracks are whole pixels


def test_text_without_sentiment_gets_no_sure_label(page: Page) -> None:
    """Where no score reaches the model's own bound, the page says so instead of naming a label; the bars stay."""
    page.type("The meeting is at noon.")
    [row] = page.await_rows("The meeting is at noon.")
    assert row["label"] == "no clear sentiment"
    assert {name for name, _, _ in row["bars"]} == {"POSITIVE", "NEGATIVE"}


def test_same_text_again_comes_from_the_cache(page: Page) -> None:
    """The second scoring of a text says that it came from the cache; the first, that it did not."""
    text = f"Never scored before: {uuid4()}"
    page.paste(text)
    page.await_rows(text)
    assert page.visible_text("cache") == "0 of 1"
    page.click("clear")
    page.await_rows()
    page.paste(text)
    page.await_rows(text)
    assert page.visible_text("cache") == "1 of 1"
    assert page.visible_text("service-time").endswith(" ms")
    assert page.visible_text("round-trip").endswith(" ms")


def test_lines_are_scored_in_order_and_blank_ones_skipped(page: Page) -> None:
    """Each line that is not blank gets one result, in the box's order, under its own line number."""
    page.type("I hate you.\n\n  \nI love you.")
    rows = page.await_rows("I hate you.", "I love you.")
    assert [(row["line"], row["label"]) for row in rows] == [("1", "NEGATIVE"), ("4", "POSITIVE")]
    assert page.visible_text("cache").endswith(" of 2")


def test_markup_in_a_text_is_shown_as_text(page: Page) -> None:
    """A text that holds markup is shown letter by letter, and nothing in it runs."""
    text = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script><b>fine</b>"
    page.type(text)
    page.await_rows(text)
    assert page.driver.execute_script("return results.querySelectorAll('img, script, b').length") == 0
    assert page.driver.title == "Valence"
    assert page.console() == []


def test_truncated_text_is_marked(page: Page) -> None:
    """Only the text that is longer than the model can read carries the mark; long ones say how they were read."""
    long, two = "good " * 1900, "good " * 600
    page.paste(f"short\n{long}\n{two}")
    rows = page.await_rows("short", long, two)
    assert [row["truncated"] for row in rows] == [False, True, False]
    assert [row["windows"] for row in rows] == ["", "read in 4 windows", "read in 2 windows"]


def test_refusal_names_the_line_and_the_limit(page: Page) -> None:
    """A text over the limit is refused in words that name its line; the next good text clears them."""
    page.paste("fine\n\n" + "a" * 100_001)
    page.wait(lambda: "Line 3: " in page.visible_text("error"))
    assert "100000" in page.visible_text("error")
    assert "HTTP 422" in page.visible_text("error")
    assert page.rows() == []
    page.paste("fine")
    page.await_rows("fine")
    assert page.visible_text("error") == ""


def test_too_many_texts_are_refused_in_words(page: Page) -> None:
    """A request with too many texts is refused in the service's own words, with its limit."""
    page.paste("\n".join(f"text {number}" for number in range(129)))
    page.wait(lambda: "HTTP 413" in page.visible_text("error"))
    assert "128" in page.visible_text("error")


def test_page_works_by_keyboard_alone(page: Page) -> None:
    """Tab goes through the box, the examples and the links in order, and Enter on an example scores it."""
    focused = "const e = document.activeElement; return e.id || e.getAttribute('href') || e.textContent"
    stops = []
    for _ in range(7):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        stops.append(page.driver.execute_script(focused))
    examples = [button.text for button in page.driver.find_elements(By.CSS_SELECTOR, ".example")]
    assert len(examples) == 3
    assert stops == ["texts", *examples, "docs", "health", "model/info"]
    page.type(Keys.TAB + Keys.ENTER)
    page.await_rows(examples[0])


def test_card_shows_what_the_service_says_of_its_model(page: Page) -> None:
    """The card holds every plain value of /model/info, the digest among them."""
    info = page.driver.execute_async_script(
        "const done = arguments[0]; fetch('model/info').then(r => r.json()).then(done)"
    )
    page.wait(lambda: info["digest"] in page.visible_text("card"))
    card = page.visible_text("card")
    plain = {
        name: value for name, value in info.items() if isinstance(value, str | int) and not isinstance(value, bool)
    }
    assert [name for name, value in plain.items() if str(value) not in card] == []
    assert ", ".join(info["labels"]) in card


def test_nothing_scrolls_sideways_on_a_phone(page: Page) -> None:
    """At 360 pixels nothing is wider than the window or cut off, not even a text without a place to break."""
    page.emulate(width=360, scheme="light")
    page.paste("w" * 400 + "\nI love you.")
    page.await_rows("w" * 400, "I love you.")
    page.wait(lambda: page.visible_text("card"))
    page.wait(lambda: page.visible_text("live"))
    assert page.driver.execute_script("return innerWidth") == 360
    too_wide = (
        "return [...document.querySelectorAll(':root, .text')].filter((n) => n.scrollWidth > n.clientWidth).length"
    )
    assert page.driver.execute_script(too_wide) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(page: Page, scheme: str) -> None:
    """Every text on the page, results and model's card included, has WCAG AA's contrast of 4.5 in both schemes."""
    page.emulate(width=1200, scheme=scheme)
    page.paste("I hate you.\n" + "good " * 600)
    page.await_rows("I hate you.", "good " * 600)
    page.wait(lambda: page.visible_text("card"))
    page.wait(lambda: page.visible_text("live-p50").endswith(" ms"))
    looked_at, low = page.driver.execute_script(LOW_CONTRASTS)
    assert looked_at > 40
    assert low == []


def test_live_numbers_are_those_of_the_service(page: Page) -> None:
    """Requests of the last half minute: their rate, their quantiles, the share of texts that was known."""
    page.wait(lambda: page.visible_text("live-state") == "ready")
    text = f"Never scored before: {uuid4()}"
    page.paste(text)
    page.await_rows(text)
    page.wait(lambda: page.visible_text("live-p99").endswith(" ms"))
    assert float(page.visible_text("live-rate").replace(",", "")) > 0
    assert float(page.visible_text("live-p50").removesuffix(" ms")) > 0
    assert 0 <= float(page.visible_text("live-hits").removesuffix(" %")) <= 100
    assert page.visible_text("live-waiting") == "0"
    assert page.console() == []


@pytest.mark.parametrize("width", [360, 900, 1000, 1200])
def test_live_numbers_move_nothing_and_cover_nothing(page: Page, width: int) -> None:
    """Whether they show or not, all else stays where it is; on no width do they lie over another text."""
    page.emulate(width=width, scheme="light")
    page.wait(lambda: page.visible_text("card"))
    page.wait(lambda: page.visible_text("live"))
    with_numbers = page.driver.execute_script(PLACES)
    overlaps = page.driver.execute_script(OVERLAPS)
    page.driver.execute_script("live.hidden = true")
    assert page.driver.execute_script(PLACES) == with_numbers
    assert overlaps == []


def test_live_numbers_are_never_announced(page: Page) -> None:
    """A screen reader that is told of every change would not stop talking."""
    page.wait(lambda: page.visible_text("live"))
    announced = "return live.closest('[aria-live], [role=status], [role=alert]') === null"
    assert page.driver.execute_script(announced)
    assert page.driver.execute_script("return live.querySelectorAll('[aria-live], [role]').length") == 0
