"""Draws docs/page.png (`make screenshot`): the page of a daemon with the built-in camera."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from tests.broker import Mosquitto, eventually
from tests.browser import Browser
from tests.page import WebDaemon

CAMERAS = "".join(
    f'[[camera]]\nname = "{name}"\nsource = "portraits"\nfaces = {faces}\n'
    for name, faces in (("hall", 2), ("door", 1))
)
SHOWN = Path(__file__).resolve().parents[1] / "docs" / "page.png"
SECONDS = 60  # for the timeline to have something on it
SIZE = 1000, 1200  # pixels
MOST = 150 * 1024  # bytes


def draw(folder: Path) -> bytes:
    """The page after SECONDS, with the preview on: the faces are averages, no real person's."""
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    web = WebDaemon(folder, mosquitto, "preview = true", CAMERAS, node="kitchen-pi")
    (folder / "browser").mkdir()
    browser = Browser(folder / "browser")
    try:
        time.sleep(SECONDS)
        tab = browser.tab
        tab.emulate(*SIZE)
        tab.command("Emulation.setScrollbarsHidden", hidden=True)
        tab.go(web.url)
        tab.run(f"document.querySelector('#token').value = {web.token!r}")
        tab.click("button")
        assert eventually(lambda: tab.text("#link") == "live")
        tab.click("#preview")
        assert eventually(
            lambda: tab.run("[...document.querySelectorAll('.picture img')].every(it => it.naturalWidth)")
        )
        assert eventually(lambda: tab.run("document.querySelectorAll('.timeline path').length") > 8)
        assert eventually(lambda: tab.run("document.querySelectorAll('.picture rect').length") == 3)
        return tab.png()
    finally:
        browser.close()
        web.close()
        mosquitto.kill()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as folder:
        drawn = smaller(draw(Path(folder)))
    if len(drawn) > MOST:
        print(f"{SHOWN}: {len(drawn)} bytes; expected at most {MOST}", file=sys.stderr)
        return 1
    SHOWN.write_bytes(drawn)
    return 0


def smaller(png: bytes) -> bytes:
    """*png* reduced to 256 colors."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
