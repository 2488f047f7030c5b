"""The built site: its links lead somewhere, and a browser shows each page without a complaint.

python -m sphinx -W docs docs/_build/html
SIGPROP_SITE=docs/_build/html pytest tests/docs/test_site.py
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from browser import opened_browser

SITE = Path(os.environ.get("SIGPROP_SITE", "-")).resolve()
PAGES = sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html"))
PAGES = [page for page in PAGES if not page.startswith("_")]

pytestmark = pytest.mark.skipif(not PAGES, reason="SIGPROP_SITE names no built site")


class Links(HTMLParser):
    """The anchors of a page, and everything that it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.targets.append(found["href"])
        if tag in ("img", "script") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and found.get("href") and found.get("rel") != "canonical":
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def pages() -> dict[str, Links]:
    return {page: Links((SITE / page).read_text(encoding="utf-8")) for page in PAGES}


def test_there_are_tutorials_how_tos_a_reference_and_explanations():
    for part in ("generated/tutorials", "how_to", "reference", "explanation"):
        assert sum(page.startswith(f"{part}/") for page in PAGES) >= 6


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_file_and_a_place_in_it(page, pages):
    broken = []
    for target in [*pages[page].targets, *pages[page].loaded]:
        address, anchor = urldefrag(target)
        if urlparse(address).scheme in ("http", "https", "mailto", "data"):
            continue
        path = (SITE / page).parent / unquote(urlparse(address).path) if address else SITE / page
        path = path.resolve()
        if not path.is_file():
            broken.append(target)
        elif anchor and path.suffix == ".html":
            there = pages.get(path.relative_to(SITE).as_posix())
            if there is not None and unquote(anchor) not in there.anchors:
                broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(page, pages):
    assert [source for source in pages[page].loaded if urlparse(source).scheme] == []


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


BROKEN_PICTURES = """
[...document.images].filter(i => i.complete && i.currentSrc && !i.naturalWidth).map(i => i.src)
"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


# Every page in both widths and in both modes: each second page is dark on a phone.
VIEWS = [
    (page, width, (width == 1280) == (number % 2 == 0))
    for number, page in enumerate(PAGES)
    for width in (390, 1280)
]


@pytest.mark.parametrize(("page", "width", "dark"), VIEWS)
def test_a_browser_shows_a_page_without_a_complaint(browser, page, width, dark):
    browser.open((SITE / page).as_uri(), width, dark=dark)
    assert browser.happened("Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert browser.happened("Log.entryAdded") == []
    asked = [e["request"]["url"] for e in browser.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert browser.value(BROKEN_PICTURES) == []
    clear = browser.value("document.documentElement.clientWidth")  # less a scroll bar
    assert browser.value("document.documentElement.scrollWidth") == clear
    shade = [int(part) for part in browser.value(BACKGROUND).strip("rgba()").split(",")[:3]]
    assert (sum(shade) < 384) == dark
