"""The page in a real browser, in front of the daemon."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.browser import Browser, Tab, browser  # noqa: F401
from tests.page import WebDaemon, shared_web, web  # noqa: F401
from tests.process import REPOSITORY


def log_in(tab: Tab, web: WebDaemon) -> None:
    """Log in with the token and wait for two faces."""
    tab.go(web.url)
    tab.run(f"document.querySelector('#token').value = {web.token!r}")
    tab.click("button")
    assert eventually(lambda: tab.text("#link") == "live")
    assert eventually(lambda: tab.run("document.querySelectorAll('.face').length") == 2)


def test_camera_state_reaches_its_tile_within_a_second(shared_web: WebDaemon, browser: Browser) -> None:
    tab = browser.tab
    with subscriber(shared_web.broker.port) as client:
        log_in(tab, shared_web)
        assert tab.text("article h2") == "hall"
        assert tab.text("article .status") == "online"
        assert tab.run("document.querySelectorAll('.face progress').length") == 14
        # Timed by the page's clock: from a transition's message to its text on the tile.
        tab.run(
            "window.seen = []; new MutationObserver(() => seen.push([Date.now() / 1000, "
            "document.querySelector('.faces').textContent])).observe(document.querySelector('.faces'), "
            "{subtree: true, childList: true, characterData: true})"
        )
        topic = "emotion-edge/pi/hall/event"
        before = len(client.payloads(topic))
        assert eventually(lambda: len(client.payloads(topic)) >= before + 4)
        time.sleep(1.5)
        changes = [
            (when, payload)
            for when, (name, payload, _) in zip(client.times, client.messages, strict=True)
            if name == topic
        ][before : before + 4]
        seen = tab.run("seen")
        assert seen
        for when, payload in changes:
            label = payload.split('"to":"')[1].split('"')[0]
            track = payload.split('"track":')[1].split(",")[0]
            delays = [
                at - when
                for at, text in seen
                if at >= when - 0.3 and f"% face {track}," in text and label in text
            ]
            assert delays, payload
            assert min(delays) <= 1.0, payload
    assert [problem for problem in tab.problems if "401" not in problem] == []


def test_timeline_grows_and_the_day_view_has_its_own(shared_web: WebDaemon, browser: Browser) -> None:
    tab = browser.tab
    log_in(tab, shared_web)
    seconds = "Number(document.querySelector('.timeline svg').dataset.seconds ?? 0)"
    assert eventually(lambda: tab.run(seconds) > 1)
    before = tab.run(seconds)
    assert eventually(lambda: tab.run(seconds) > before + 2)
    assert "%" in tab.text("figcaption")
    tab.click("[data-span='24h']")
    assert eventually(lambda: tab.text(".from") == "24 h ago")
    assert tab.run(seconds) > before


def test_switch_set_on_the_page_acts_and_follows_mqtt(
    web: WebDaemon, broker: Mosquitto, browser: Browser
) -> None:
    tab = browser.tab
    with subscriber(broker.port) as client:
        log_in(tab, web)
        hold = "document.querySelector('[name=hold]')"
        tab.run(f"{hold}.value = '1.5'; {hold}.dispatchEvent(new Event('change', {{bubbles: true}}))")
        assert eventually(lambda: client.last("emotion-edge/pi/hall/hold/state") == "1.5")
        tab.click("[name=enabled]")
        assert eventually(lambda: client.last("emotion-edge/pi/hall/status") == "disabled")
        assert eventually(lambda: client.last("emotion-edge/pi/hall/enabled/state") == "OFF")
        assert eventually(lambda: tab.text(".summary") == "Nobody in view")
        # Switches set elsewhere reach the page.
        client.publish("emotion-edge/pi/hall/enabled/set", b"ON")
        assert eventually(lambda: tab.run("document.querySelector('[name=enabled]').checked"))
        tab.run(f"{hold}.value = '600'; {hold}.dispatchEvent(new Event('change', {{bubbles: true}}))")
        assert eventually(lambda: "expected a number" in tab.text("output"))


def test_preview_is_announced_and_shows_moving_pictures_with_boxes(
    web: WebDaemon, broker: Mosquitto, browser: Browser
) -> None:
    tab = browser.tab
    with subscriber(broker.port) as client:
        log_in(tab, web)
        assert eventually(lambda: client.last("emotion-edge/pi/preview") == "OFF")
        assert tab.run("document.querySelector('.picture').checkVisibility()") is False
        tab.click("#preview")
        assert eventually(lambda: client.last("emotion-edge/pi/preview") == "ON")
        assert eventually(lambda: "Preview is on" in tab.text("#notice"))
        image = "document.querySelector('.picture img')"
        assert eventually(lambda: tab.run(f"{image}.naturalWidth") == 640)
        first = tab.run(f"{image}.src")
        assert eventually(lambda: tab.run(f"{image}.src") != first)
        assert eventually(lambda: tab.run("document.querySelectorAll('.picture rect').length") == 2)
        drawn = "[...document.querySelectorAll('.picture text')].map(it => it.textContent)"
        assert all(re.fullmatch(r"[a-z]+ \d+ %", label) for label in tab.run(drawn))
        inside = (
            "[...document.querySelectorAll('.picture text')].every(it => { const [a, b] = "
            "[it, it.closest('.picture')].map(of => of.getBoundingClientRect()); "
            "return a.top >= b.top - 1 && a.bottom <= b.bottom + 4; })"
        )
        assert tab.run(inside)
        tab.click("#preview")
        assert eventually(lambda: client.last("emotion-edge/pi/preview") == "OFF")
        assert eventually(lambda: tab.run("document.querySelector('.picture').checkVisibility()") is False)
        assert client.payloads("emotion-edge/pi/preview") == ["OFF", "ON", "OFF"]
    assert "web: preview begins" in web.daemon.log_so_far()
    assert [problem for problem in tab.problems if "401" not in problem] == []


def test_preview_ends_after_the_last_viewer_left(broker: Mosquitto, browser: Browser, tmp_path: Path) -> None:
    # Shorten the timeout: Python runs sitecustomize first.
    (tmp_path / "sitecustomize.py").write_text("from edge.web import preview\npreview.UNSEEN_S = 4.0\n")
    path = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    web = WebDaemon(tmp_path, broker, "preview = true", environment=path)
    try:
        with subscriber(broker.port) as client:
            log_in(browser.tab, web)
            browser.tab.click("#preview")
            assert eventually(lambda: client.last("emotion-edge/pi/preview") == "ON")
            shown = "document.querySelector('.picture img').naturalWidth"
            assert eventually(lambda: browser.tab.run(shown) == 640)
            time.sleep(6)  # longer than the timeout: a viewer keeps it on
            assert client.last("emotion-edge/pi/preview") == "ON"
            browser.tab.go("about:blank")
            assert eventually(lambda: client.last("emotion-edge/pi/preview") == "OFF")
        ended = "web: preview ends: no viewer for 4 s"
        assert eventually(lambda: ended in web.daemon.log_so_far())
    finally:
        web.close()


def test_page_works_by_keyboard_and_controls_have_labels(shared_web: WebDaemon, browser: Browser) -> None:
    tab = browser.tab
    log_in(tab, shared_web)
    tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(8):
        tab.press("Tab", 9)
        reached.append(tab.run("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert [*reached[:6]] == ["Show pictures", "10 min", "24 h", "enabled", "min_confidence", "hold"]
    nodes = tab.command("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "spinbutton", "image", "textbox"}
    shown = [it for it in nodes if not it.get("ignored") and it.get("role", {}).get("value") in roles]
    assert len(shown) >= 6
    assert [it for it in shown if not it.get("name", {}).get("value")] == []
    tiles = [it["name"]["value"] for it in nodes if it.get("role", {}).get("value") == "article"]
    assert tiles == ["Camera hall"]


def test_refused_preview_shows_the_reason_until_read(web: WebDaemon, browser: Browser) -> None:
    tab = browser.tab
    log_in(tab, web)
    # Enough changes at once to exhaust the allowance.
    tab.run(
        "for (let i = 0; i < 60; i++) post('preview', {on: false});document.querySelector('#preview').click()"
    )
    assert eventually(lambda: "Preview: too many changes" in tab.text("#notice"))
    time.sleep(1)  # four state updates later
    assert tab.run("document.querySelector('#notice').checkVisibility()")
    assert "too many changes" in tab.text("#notice")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1200, True)])
def test_page_fits_a_phone_and_dark_mode(
    shared_web: WebDaemon, browser: Browser, width: int, dark: bool
) -> None:
    tab = browser.tab
    tab.emulate(width, 800, dark=dark)
    log_in(tab, shared_web)
    assert tab.run("document.documentElement.scrollWidth") <= width
    colors = tab.run(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        ".map(it => it.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
    )
    assert (colors[0] > colors[1]) == dark
    assert abs(colors[0] - colors[1]) > 400


def test_wrong_token_returns_the_form_and_rotation_logs_out(web: WebDaemon, browser: Browser) -> None:
    tab = browser.tab
    tab.go(web.url)
    tab.run("document.querySelector('#token').value = 'guessed'")
    tab.click("button")
    assert eventually(lambda: tab.run("location.pathname") == "/login" and tab.text("label") == "Token")
    log_in(tab, web)
    path = web.state / "web_token-pi"
    path.write_text("x" * 32 + "\n")
    assert eventually(lambda: tab.text("label") == "Token")
