"""A local page for trying prompts by hand: drop a picture, edit the class names, see the bars.

The page is gradio's: a maintained library whose pages work on desktop and phone and, with the settings below, load nothing from outside. It is an
optional requirement, imported when a page is built. The page listens on this machine alone, sends no analytics, offers no public link, and deletes
uploaded pictures when it ends.
"""

from __future__ import annotations

import io
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from .classifier import PromptClassifier
from .explain import Explainer
from .names import checked_names
from .pictures import UnreadablePicture, read_picture

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
PORT = 7860  # gradio's own choice
REQUIREMENTS = "requirements-page.txt"
N_BARS = 10
MAX_FILE_SIZE = "50mb"  # of a picture; our choice: beyond any photograph
FONT = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]  # of the reader's machine, so that none is fetched
CSS = """
.gradio-container {max-width: 1080px !important; margin: auto}
#message {border-left: 4px solid #c2410c; padding: 0.4rem 0.9rem; background: color-mix(in srgb, #c2410c 8%, transparent)}
#picture img {width: 100%; height: 100%; object-fit: contain}
@media (max-width: 640px) {
  #explanation {width: 100%; contain: inline-size; overflow-x: auto !important}
  #explanation * {justify-content: flex-start}
  #explanation img {min-width: 720px; max-width: none}
}
"""


class PageError(ValueError):
    """The page cannot be served; the message says what to do."""


class Answer(NamedTuple):
    """What the page shows for a picture.

    Args:
        scores: class name -> probability of the likeliest classes; None where there is nothing to show.
        message: why there is nothing to show, in Markdown; empty if there is, and without a picture.
    """

    scores: dict[str, float] | None
    message: str


class Answers:
    """Answers for a page; one at a time, as all who look at the page share the classifier."""

    def __init__(self, classifier: PromptClassifier) -> None:
        self._classifier = classifier
        self._explainer = Explainer(classifier)
        self._lock = threading.Lock()

    def classify(self, path: str | None, names: str) -> Answer:
        """The likeliest classes of one picture.

        Args:
            path: of the uploaded file; None where there is none.
            names: class names, one a line.
        """
        if path is None:
            return Answer(None, "")
        picture = read_picture(path)
        if isinstance(picture, UnreadablePicture):
            return Answer(
                None, f"**{os.path.basename(path)} is no picture that can be read.** Give a JPEG, PNG, WebP, GIF, BMP or TIFF file."
            )
        with self._lock:
            try:
                self._classifier.classnames = _listed(names)
            except ValueError as error:
                return Answer(None, f"**The class names cannot be used:** {error}")
            prediction = self._classifier.classify(picture, top=N_BARS)
        return Answer({score.name: score.probability for score in prediction.scores}, "")

    def explain(self, path: str | None, names: str) -> Image.Image | None:
        """The figure of :mod:`classify.explain`; None where :meth:`classify` has a message, or there is no picture."""
        picture = UnreadablePicture("", "") if path is None else read_picture(path)
        if isinstance(picture, UnreadablePicture):
            return None
        png = io.BytesIO()
        with self._lock:
            try:
                self._classifier.classnames = _listed(names)
            except ValueError:
                return None
            self._explainer.figure(picture).savefig(png, dpi=150, format="png")
        return Image.open(png)


def _listed(names: str) -> tuple[str, ...]:
    """The class names in a text, one a line; ValueError for names that cannot be used."""
    return checked_names([line for line in names.splitlines() if line.strip()])


def describe(classifier: PromptClassifier) -> str:
    """What the prompts are, in a line of Markdown."""
    file = classifier.file
    parts = [f"{file.backbone.name}", f"{len(file.classnames)} classes"]
    if file.dataset:
        half = f" ({file.subsample})" if file.subsample in ("base", "new") else ""
        parts.insert(0, f"trained on {file.dataset}{half}" if file.learned else f"{file.dataset}{half}")
    if file.shots and file.shots > 0:
        parts.append(f"{file.shots} pictures a class")
    if file.accuracy is not None:
        parts.append(f"{file.accuracy:.1f}% on its test pictures")
    return f"## {file.method} prompts\n\n{' · '.join(parts)}"


def import_gradio() -> ModuleType:
    """Gradio with its analytics off.

    Raises:
        PageError: it is not installed, or too old.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio
    except ImportError as error:
        raise PageError(f"the page needs gradio, which is not installed ({error}): pip install -r {REQUIREMENTS}") from error
    if int(gradio.__version__.split(".")[0]) < 6:
        raise PageError(f"the page needs gradio 6 or later, and {gradio.__version__} is installed: pip install -r {REQUIREMENTS}")
    return gradio


def build_page(classifier: PromptClassifier) -> gradio.Blocks:
    """The page, not yet served.

    Raises:
        PageError: gradio is not installed.
    """
    gr = import_gradio()
    with gr.Blocks(title=f"{classifier.file.method} prompts", analytics_enabled=False) as page:
        gr.Markdown(describe(classifier))
        with gr.Row(equal_height=False):
            with gr.Column(min_width=280):
                picture = _upload(gr)
                names = gr.Textbox(
                    "\n".join(classifier.classnames),
                    label="Class names, one a line (Shift+Enter classifies)",
                    lines=6,
                    max_lines=14,
                    elem_id="names",
                )
                with gr.Row():
                    classify = gr.Button("Classify", variant="primary", size="sm", min_width=100, elem_id="classify")
                    reset = gr.Button("Reset names", size="sm", min_width=100, elem_id="reset")
                wanted = gr.Checkbox(False, label="Show where it looks", elem_id="explain", container=False)
            with gr.Column(min_width=280):
                message = gr.Markdown(visible=False, elem_id="message")
                scores = gr.Label(label="Classes", num_top_classes=N_BARS, elem_id="scores")
        figure = gr.Image(visible=False, show_label=False, interactive=False, elem_id="explanation", buttons=["download", "fullscreen"])
        reset_names = reset.click(lambda: "\n".join(classifier.file.classnames), outputs=names, api_visibility="private")
        classifies = (picture.change, classify.click, names.submit, reset_names.then)
        _connect(gr, Answers(classifier), classifies, (picture, names, wanted), (scores, message, figure))
    return page


def _upload(gr: ModuleType) -> Any:
    """Where a picture is dropped; it gives the path of the file, unread, so that a file that is no picture gets an answer and no failure."""
    picture = gr.Image(label="Picture", sources=["upload", "clipboard"], height=300, elem_id="picture", buttons=[])
    picture.preprocess = lambda payload: None if payload is None else payload.path  # on the object: gradio writes a file for each subclass
    return picture


def _connect(gr: ModuleType, answers: Answers, classifies: Sequence[Any], inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
    """Have ``answers`` fill ``outputs`` (bars, message, figure) from ``inputs`` (picture, names, whether the figure is wanted).

    The bars come first, at each of the events ``classifies``; the figure takes a second more.
    """
    picture, names, wanted = inputs
    scores, message, figure = outputs

    def classify(path: str | None, text: str) -> tuple[Any, Any]:
        answer = answers.classify(path, text)
        return answer.scores, gr.update(value=answer.message, visible=bool(answer.message))

    def explain(path: str | None, text: str, is_wanted: bool) -> Any:
        drawn = answers.explain(path, text) if is_wanted else None
        return gr.update(value=drawn, visible=drawn is not None)

    common = {"show_progress": "minimal", "api_visibility": "private"}
    for event in classifies:
        event(classify, [picture, names], [scores, message], **common).then(explain, [picture, names, wanted], figure, **common)
    wanted.input(explain, [picture, names, wanted], figure, **common)


@contextmanager
def serving(classifier: PromptClassifier, port: int | None = None, open_browser: bool = False) -> Iterator[str]:
    """Serve the page on this machine within the context.

    Args:
        classifier: a loaded prompt file.
        port: 1 to 65535; by default :data:`PORT`, or the next free one.
        open_browser: show the page in the default browser.

    Yields:
        its address.

    Raises:
        PageError: gradio is not installed, or the port is taken.
    """
    import_gradio()
    if port is not None:
        _check_port(port)
    _reach_this_machine_directly()
    with (
        tempfile.TemporaryDirectory(prefix="prompt-page-", ignore_cleanup_errors=True) as uploads,
        _environment("GRADIO_TEMP_DIR", uploads),
    ):
        page = build_page(classifier)
        theme = _theme()
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                inbrowser=open_browser,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                footer_links=[],
                max_file_size=MAX_FILE_SIZE,
                ssr_mode=False,
                theme=theme,
                css=CSS,
            )
            yield address
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """The environment variable ``name`` set to ``value`` within the context."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _theme() -> Any:
    """Gradio's plain theme with the fonts of the reader's machine."""
    gr = import_gradio()
    return gr.themes.Default(font=FONT, font_mono=["ui-monospace", "Consolas", "monospace"], primary_hue="orange")


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise PageError(f"--port is {port}; it must be between 1 and 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PageError(
                f"port {port} cannot be listened on ({error.strerror}): give another --port, or none for the next free one"
            ) from error


def _reach_this_machine_directly() -> None:
    """Keep a proxy from the environment out of the way between gradio and its own server."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, HOST, "localhost"]))
