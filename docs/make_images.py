"""Screenshots of the dashboards for these pages: ``python docs/make_images.py STUDY TRIAL [--reference …]``.

They are taken in a headless Chromium of a study that is there (SWEEP_HOME), and written to docs/images.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parent / "images"
#: Bytes that a picture may have.
LARGEST = 300_000
#: What a page may take, in ms.
PATIENCE = 300_000
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("study")
    arguments.add_argument("trial", type=int)
    arguments.add_argument("--reference", action="append", default=[])
    arguments.add_argument("--port", type=int, default=8097)
    given = arguments.parse_args()
    base = f"http://127.0.0.1:{given.port}"
    options = [part for reference in given.reference for part in ("--reference", reference)]
    command = [sys.executable, "-m", "sweep", "dashboard", given.study, "--port", str(given.port), *options]
    server = subprocess.Popen(command)
    try:
        _wait_for(f"{base}/explorer")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--enable-unsafe-swiftshader", *(["--no-sandbox"] if os.geteuid() == 0 else [])],
            )
            take(browser, base, given.study, given.trial)
    finally:
        server.terminate()
        server.wait()


def take(browser: Browser, base: str, study: str, trial: int) -> None:
    """Take every picture."""
    explorer = f"{base}/explorer/{study}"
    for name, size, theme, address in [
        ("explorer", DESKTOP, "light", explorer),
        ("student", DESKTOP, "light", f"{explorer}#split=test&trial={trial}"),
        ("student-dark", DESKTOP, "dark", f"{explorer}#split=test&trial={trial}"),
        ("explorer-phone", PHONE, "light", explorer),
    ]:
        page = browser.new_page(viewport=size, color_scheme=theme)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        if "trial" in address:
            page.wait_for_selector(f"html[data-shown='{trial}']")
        _keep(page, name)
        if name == "student":
            page.locator("#layers").scroll_into_view_if_needed()
            page.locator("#bars").evaluate("node => node.scrollIntoView()")
            _keep(page, "student-layers")
    number = int(page.get_attribute("#optuna", "href").rpartition("/")[2])
    for name, path, text in [
        ("optuna-figures", "", "Importance of parameters"),
        ("optuna-trial", f"/trials?numbers={trial}", "student.zip"),
    ]:
        page = browser.new_page(viewport=DESKTOP, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.goto(f"{base}/dashboard/studies/{number}{path}")
        found = page.wait_for_selector(f"text={text}")
        if not path:
            found.scroll_into_view_if_needed()
        _keep(page, name)


def _keep(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)  # for what still moves
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file)
    if file.stat().st_size > LARGEST:
        raise SystemExit(f"{file}: has {file.stat().st_size:,} bytes, more than {LARGEST:,}")
    print(file)


def _wait_for(address: str) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"{address}: nobody answers")


if __name__ == "__main__":
    main()
