"""A browser shows the report without a complaint."""

from __future__ import annotations

import pytest
from browser import opened_browser


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


CONTRAST = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      const alpha = c.length > 3 ? c[3] : 1;
      if (alpha > 0) layers.push([c, alpha]);
      if (alpha === 1) break;
    }
    return layers.reverse().reduce((under, [c, a]) =>
      under.map((u, i) => u * (1 - a) + c[i] * a), [255, 255, 255]);
  };
  let worst = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
})()
"""


@pytest.mark.parametrize(
    ("which", "width", "dark"),
    [
        ("report", 390, False),
        ("report", 1280, True),
        ("hostile", 390, True),
        ("hostile", 1280, False),
    ],
)
def test_a_browser_shows_it_without_a_complaint(browser, request, which, width, dark):
    path = request.getfixturevalue(which)
    browser.open(path.as_uri(), width, dark=dark)
    assert browser.happened("Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert browser.happened("Log.entryAdded") == []
    asked = [e["request"]["url"] for e in browser.happened("Network.requestWillBeSent")]
    assert [url[:60] for url in asked if not url.startswith(("data:", path.as_uri()))] == []
    assert browser.value("innerWidth") == width
    clear = browser.value("document.documentElement.clientWidth")  # less a scroll bar
    assert browser.value("document.documentElement.scrollWidth") == clear
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.value(broken) == 0
    assert browser.value("document.images.length") == 4
    drawn = "document.images[0].currentSrc === document.images[0].src"
    assert browser.value(drawn) is (width > 640)
    ratio, where = browser.value(CONTRAST)
    assert ratio >= 4.5, where
