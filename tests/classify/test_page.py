"""The local page: what it answers, and the page itself in a headless browser, where chromium, its driver, selenium and gradio are installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from classify import PromptClassifier, page
from tests.classify.tiny_prompts import NAMES, circle, prompt_file, tiny_clip
from tools.page import main

PATIENCE = 60  # seconds until a browser on a busy machine must have shown something


@pytest.fixture(scope="module")
def classifier() -> PromptClassifier:
    return PromptClassifier(prompt_file("MPL"), tiny_clip())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    circle(0, 0).save(folder / "disc.png")
    (folder / "notes.png").write_text("no picture at all")
    return folder


def test_a_picture_and_names_give_bars(classifier: PromptClassifier, pictures: Path) -> None:
    answers = page.Answers(classifier)
    answer = answers.classify(str(pictures / "disc.png"), "\n".join(NAMES))
    assert answer.message == "" and max(answer.scores, key=answer.scores.get) == "red circle"
    assert sum(answer.scores.values()) == pytest.approx(1)
    answer = answers.classify(str(pictures / "disc.png"), "  a red disc \n\n a boat\n")
    assert set(answer.scores) == {"a red disc", "a boat"}
    drawn = answers.explain(str(pictures / "disc.png"), "a red disc\na boat")
    assert drawn.format == "PNG" and drawn.width >= 1400
    assert answers.classify(None, "a\nb") == (None, "")


@pytest.mark.parametrize(
    ("file", "names", "message"),
    [
        ("notes.png", "a\nb", "notes.png is no picture that can be read"),
        ("disc.png", "", "class names are needed"),
        ("disc.png", "a cat\na_cat", "read alike"),
        ("disc.png", "word " * 80, "needs 8"),  # 80 words and more tokens than the text tower has positions
    ],
)
def test_what_cannot_be_used_is_said(classifier: PromptClassifier, pictures: Path, file: str, names: str, message: str) -> None:
    answers = page.Answers(classifier)
    answer = answers.classify(str(pictures / file), names)
    assert answer.scores is None and message in answer.message
    assert answers.explain(str(pictures / file), names) is None
    assert answers.classify(str(pictures / "disc.png"), "\n".join(NAMES)).message == ""  # and the next one is answered


def test_a_missing_gradio_is_said_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    assert main(["no_such_file.safetensors"]) == 2
    assert (
        "the page needs gradio, which is not installed" in (err := capsys.readouterr().err)
        and "pip install -r requirements-page.txt" in err
    )


def test_what_the_prompts_are_stands_above() -> None:
    classifier = PromptClassifier(prompt_file("CoOp"), tiny_clip())
    assert page.describe(classifier).split("\n\n") == [
        "## CoOp prompts",
        "trained on Shapes (base) · Tiny-Shapes · 4 classes · 16 pictures a class · 73.9% on its test pictures",
    ]


@pytest.fixture(scope="module")
def address(classifier: PromptClassifier) -> Iterator[str]:
    pytest.importorskip("gradio", reason="gradio, which serves the page, is not installed", exc_type=ImportError)
    with page.serving(classifier) as served:
        yield served


def test_the_page_listens_on_this_machine_alone(classifier: PromptClassifier, address: str) -> None:
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    assert address.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {"127.0.0.1"}
    for other in others:
        if not other.startswith("127."):
            with pytest.raises(OSError), socket.create_connection((other, port), timeout=2):
                pass
    with pytest.raises(page.PageError, match=rf"port {port} cannot be listened on"), page.serving(classifier, port):
        pass
    with pytest.raises(page.PageError, match="--port is 70000; it must be between 1 and 65535"), page.serving(classifier, 70000):
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless chromium whose network requests are recorded."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives a browser, is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or its chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1200,1000",
        "--no-proxy-server",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    try:
        started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except Exception as error:  # whatever a browser that cannot start here raises
        pytest.skip(f"chromium does not start here: {str(error).splitlines()[0]}")
    yield started
    started.quit()


def wait(condition: Callable[[], Any], what: str) -> Any:
    """The value of ``condition`` as soon as there is one; a stale element counts as none."""
    end, value = time.monotonic() + PATIENCE, None
    while not value:
        assert time.monotonic() < end, f"{what} did not come within {PATIENCE} seconds"
        time.sleep(0.1)
        try:
            value = condition()
        except Exception as error:  # the page is drawn anew between a look-up and its use
            if "Stale" not in type(error).__name__ and "NoSuchElement" not in type(error).__name__:
                raise
    return value


def test_a_person_can_use_the_page(browser: Any, address: str, pictures: Path) -> None:
    def find(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    def shown(selector: str) -> str:
        return " ".join(element.text for element in browser.find_elements("css selector", selector))

    browser.get(address)
    drop = wait(lambda: find("#picture input[type=file]"), "the place for a picture")
    assert find("#names textarea").get_property("value").splitlines() == list(NAMES)
    drop.send_keys(str(pictures / "disc.png"))
    wait(lambda: "red circle" in shown("#scores") and "%" in shown("#scores"), "the first answer")

    names = find("#names textarea")
    names.clear()
    names.send_keys("a boat\na red disc")
    find("#classify").click()
    wait(lambda: "a red disc" in shown("#scores") and "blue star" not in shown("#scores"), "the answer for new names")
    names.send_keys("\na boat")
    find("#classify").click()
    wait(lambda: "read alike" in shown("#message"), "the message about names")
    find("#reset").click()
    wait(lambda: "red circle" in shown("#scores") and not shown("#message"), "the answer for the names of the training")

    find("#explain input").click()
    wait(lambda: find("#explanation img").get_property("naturalWidth") >= 1400, "the figure")

    find("#picture button[aria-label='Remove Image']").click()
    wait(lambda: find("#picture input[type=file]"), "the place for the next picture").send_keys(str(pictures / "notes.png"))
    wait(lambda: "notes.png is no picture" in shown("#message"), "the refusal of a file that is no picture")
    assert "%" not in shown("#scores") and not browser.find_elements("css selector", "#explanation img")

    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    wait(lambda: browser.execute_script("return document.documentElement.scrollWidth") <= 390, "a page as wide as a phone")
    check_requests(browser, address)


def check_requests(browser: Any, address: str) -> None:
    """Everything that the page asked for came from the page's own server."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((address.rstrip("/"), "data:", "blob:"))] == []


def test_uploads_are_gone_when_the_page_ends(classifier: PromptClassifier) -> None:
    pytest.importorskip("gradio", reason="gradio, which serves the page, is not installed", exc_type=ImportError)
    before = os.environ.get("GRADIO_TEMP_DIR")
    with page.serving(classifier):
        uploads = Path(os.environ["GRADIO_TEMP_DIR"])
        assert uploads.is_dir()
    assert not uploads.exists() and os.environ.get("GRADIO_TEMP_DIR") == before
    assert not list(Path(page.__file__).parent.glob("*.pyi"))  # gradio writes such beside a component of one's own
