"""The report as a person meets it: opened in a headless Chromium, from a file. REPORT_HTML names a real run's page."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from toolchain.release import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
QUIET = [  # neither profile nor network: a page that needs either is not self-contained
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}  # a small phone's CSS pixels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs Chromium and its driver: apt-get install chromium-driver"
    ),
]


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("REPORT_HTML"):
        return Path(os.environ["REPORT_HTML"]).resolve()
    folder = tmp_path_factory.mktemp("reported")
    config = report.Config(pipeline="bert_finetune", run="a-run")
    finished = request.getfixturevalue("finished")
    report.run(**vars(finished), report=folder / "report", page=folder / "page", config=config)
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for switch in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=Service(executable_path=DRIVER)) as chrome:
        yield chrome


@pytest.fixture
def opened(chrome: Chrome, page: Path) -> Chrome:
    chrome.get(page.as_uri())
    return chrome


def background(chrome: Chrome) -> float:
    """Return how bright the page's background is, from 0 (black) to 255."""
    colour = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601


def test_the_console_stays_empty(opened: Chrome):
    assert opened.get_log("browser") == []


def test_the_verdict_is_seen_without_scrolling(opened: Chrome):
    verdict = opened.find_element(By.ID, "verdict")
    assert verdict.is_displayed()
    assert verdict.text.strip()
    assert verdict.rect["y"] < opened.execute_script("return innerHeight")


def test_every_image_is_drawn(opened: Chrome):
    pictures = "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 50)).map(i => i.alt)"
    assert opened.execute_script(pictures) == []
    assert opened.execute_script("return document.images.length + document.querySelectorAll('svg').length") > 0


def test_nothing_is_fetched(opened: Chrome):
    fetched = "return performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))"
    assert opened.execute_script(fetched) == []


def test_a_phone_need_not_scroll_sideways(opened: Chrome):
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_is_dark_in_the_dark_and_light_in_the_light(opened: Chrome):
    seen = {}
    for scheme in ("dark", "light"):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        seen[scheme] = background(opened)
    assert seen["dark"] < 80 < 200 < seen["light"]
