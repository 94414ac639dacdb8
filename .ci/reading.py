"""Is each page of a site readable on a phone, by keyboard alone, in light and in dark?

    python .ci/reading.py PAGE...       each page raises at its first fault; no browser: exit 3
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from browser import Browser, find  # noqa: E402

PHONE, DESK = (360, 740), (1280, 900)
CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA
SMALLEST = 7.9  # pixels: letters of a drawing

# What a Tab reaches, in the order of the page. A summary's own content is reached when it is open.
STOPS = """
const closed = e => { for (let p = e.parentElement; p; p = p.parentElement)
  if (p.tagName === "DETAILS" && !p.open && e.parentElement !== p) return true; return false; };
const stops = [...document.querySelectorAll("a[href], button, summary, [tabindex='0']")]
  .filter(e => !closed(e));
"""
FOCUSED = """(() => {""" + STOPS + """
  const e = document.activeElement, s = getComputedStyle(e), box = e.getBoundingClientRect();
  return {at: stops.indexOf(e), all: stops.length, body: e === document.body, tag: e.tagName,
    name: (e.getAttribute("aria-label") || e.textContent || "").trim(), id: e.closest("[id]")?.id,
    ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    open: e.parentElement?.open ?? null}; })()"""
# What sticks out of the window and lies in nothing that scrolls by itself.
OUTSIDE = """[...document.body.querySelectorAll("*")].filter(e => {
  if (e.closest(".skip") || e.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let p = e.parentElement; p; p = p.parentElement)
    if (getComputedStyle(p).overflowX !== "visible") return false;
  return true; }).map(e => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 40)}`)"""
# What scrolls sideways, but not by keyboard.
STUCK = """[...document.body.querySelectorAll("*")].filter(e =>
  e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX) &&
  e.tabIndex < 0).map(e => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 40)}`)"""
TINY = """[...document.querySelectorAll("svg text")].map(t => ({text: t.textContent,
  size: parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a}))"""
# Words whose colour is too near to the colour behind them; in a drawing, to the paper.
FAINT = """(least => {
  const part = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
  const clear = c => /^rgba\\(.*, 0\\)$/.test(c) || c === "transparent";
  const ground = e => getComputedStyle(e).backgroundColor;
  const behind = e => { while (e.parentElement && clear(ground(e))) e = e.parentElement;
    return ground(e); };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || e.closest("script, style, title")) continue;
    const style = getComputedStyle(e), own = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(own), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least)
      found.add(`${text.slice(0, 30)}: ${own} on ${behind(e)}, ${ratio.toFixed(1)}`);
  }
  return [...found]; })"""
OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true; })"


def on_a_phone(browser: Browser, name: str) -> None:
    """At 360 pixels nothing sticks out, with every fold open, and drawings can be read."""
    browser.size(*PHONE, phone=True)
    browser.run(OPEN_ALL)
    wide = browser.run("document.documentElement.scrollWidth")
    outside = browser.run(OUTSIDE)
    assert wide <= PHONE[0] and not outside, f"{name} is {wide} pixels wide: {outside[:5]}"
    small = [t for t in browser.run(TINY) if t["size"] < SMALLEST]
    assert not small, f"{name}: letters too small on a phone: {small[:3]}"
    # The page is told of its new size when it next draws itself.
    browser.run("dispatchEvent(new Event('resize'))")
    stuck = browser.run(STUCK)
    assert not stuck, f"{name}: no key scrolls {stuck[:3]}"


def in_both_lights(browser: Browser, name: str) -> None:
    """Light and dark differ, by the system's wish and by the button; all words stand out."""
    browser.run("localStorage.removeItem('theme'); document.documentElement.dataset.theme = ''")
    grounds = {}
    for dark in (False, True):
        browser.dark(dark)
        grounds[dark] = browser.run("getComputedStyle(document.body).backgroundColor")
        faint = browser.run(f"{FAINT}({CONTRAST})")
        assert not faint, f"{name}, {'dark' if dark else 'light'}: {faint[:5]}"
    assert grounds[False] != grounds[True], f"{name} is the same in light and in dark"
    browser.dark(False)
    browser.run("document.getElementById('theme').focus()")
    browser.press("Enter")
    now = browser.run("getComputedStyle(document.body).backgroundColor")
    assert now == grounds[True], f"{name}: the button makes {now}"
    browser.press("Space")


def by_keyboard(browser: Browser, name: str) -> int:
    """Tab goes through all that can be used, once and in order; folds open and close."""
    for at in range(10_000):
        browser.press("Tab")
        now = browser.run(FOCUSED)
        if now["body"] or (now["at"] == 0 and at == now["all"]):  # round, by the window or not
            assert at == now["all"], f"{name}: Tab ends after {at} of {now['all']} places"
            return at
        where = f"{name}: {now['tag']} \"{now['name'][:30]}\""
        assert now["at"] == at, f"{where} is place {now['at']} of the page, but Tab {at}"
        assert now["ring"] and now["seen"], f"{where} has the focus, which cannot be seen"
        assert now["name"], f"{where} in #{now['id']} has no name"
        if now["tag"] == "SUMMARY":
            before = now["open"]
            for key in ("Enter", "Space"):
                browser.press(key)
                open_ = browser.run(FOCUSED)["open"]
                assert open_ != before, f"{where}: {key} does nothing"
                before = open_
    raise AssertionError(f"{name}: Tab does not come to an end")


def skip(browser: Browser, name: str) -> None:
    """From the page's top, Tab offers to skip what every page begins with, and Enter does it."""
    if browser.run("document.activeElement === document.body"):
        browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip", f"{name}: no skip link"
    browser.press("Enter")
    browser.press("Tab")
    inside = browser.run("document.querySelector('main').contains(document.activeElement)")
    assert inside, f"{name}: the skip link leads nowhere"


def read(browser: Browser, page: Path) -> None:
    """One page, in every way; AssertionError at the first fault."""
    address = page.resolve().as_uri()
    browser.size(*DESK)
    browser.dark(False)
    browser.open(address)
    places = by_keyboard(browser, page.name)
    skip(browser, page.name)
    in_both_lights(browser, page.name)
    on_a_phone(browser, page.name)
    assert not browser.complaints, f"{page.name}: {browser.complaints}"
    print(f"{page.name}: nothing on the console, no request; {places} places by Tab; "
          f"fits {PHONE[0]} pixels; light and dark", flush=True)


def main(pages: list[Path]) -> int:
    program = find()
    if program is None:
        print("no browser here: the pages were not opened")
        return 3
    with Browser(program) as browser:
        for page in pages:
            read(browser, page)
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
