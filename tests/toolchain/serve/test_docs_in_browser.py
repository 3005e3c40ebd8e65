"""Test /docs in a headless Chromium that reaches only the server: send a request from the page."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
ROOT = Path(__file__).parents[3]
NO_INTERNET = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
SECONDS = 60  # for a page on a busy machine

EXPECTED = {"words": ("texts", "negative"), "image_model": ("images", "bright")}  # a field, and a label

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs Chromium and its driver: apt-get install chromium-driver"
    ),
]


@pytest.fixture(params=EXPECTED)
def model(request: pytest.FixtureRequest) -> str:
    """The name of the fixture of a model."""
    return str(request.param)


@pytest.fixture
def address(model: str, request: pytest.FixtureRequest) -> Iterator[str]:
    folder = str(request.getfixturevalue(model))
    command = [sys.executable, "-m", "toolchain.serve", folder, "--name", "reviews", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().split()[1]
    process.kill()
    process.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for word in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        NO_INTERNET,
    ):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    driver.set_window_size(1200, 1600)
    yield driver
    driver.quit()


def test_a_request_can_be_tried_out_without_internet(model: str, address: str, browser: Chrome):
    field, label = EXPECTED[model]
    browser.get(address)
    wait = WebDriverWait(browser, SECONDS)
    operation = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "#operations-predict-predict"))
    operation.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
    wait.until(lambda page: page.find_element(By.CSS_SELECTOR, ".try-out__btn")).click()
    body = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "textarea.body-param__text"))
    assert f'"{field}"' in body.get_attribute("value")
    browser.find_element(By.CSS_SELECTOR, ".btn.execute").click()
    live = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, ".live-responses-table .response"))
    assert "200" in live.text
    assert label in live.text
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []
    if os.environ.get("DOCS_PNG"):
        browser.save_screenshot(os.environ["DOCS_PNG"])
