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
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from dassl.utils.images import PictureError

from .classifier import PromptClassifier
from .explain import Explainer
from .names import checked_names
from .pictures import UnreadablePicture, read_picture

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
PORT = 7860  # gradio's own choice
N_BARS = 10
MAX_FILE_SIZE = "50mb"  # of a picture; our choice: beyond any photograph
FONT = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]  # of the reader's machine, so that none is fetched
CSS = """
.gradio-container {max-width: 1080px !important; margin: auto}
#message {border-left: 4px solid #c2410c; padding: 0.4rem 0.9rem; background: color-mix(in srgb, #c2410c 8%, transparent)}
#explanation .image-container, #explanation .image-frame {overflow-x: auto}
@media (max-width: 640px) {#explanation img {min-width: 720px; max-width: none; object-position: left}}
"""


class PageError(ValueError):
    """The page cannot be served; the message says what to do."""


class Answer(NamedTuple):
    """What the page shows for a picture.

    Args:
        scores: class name -> probability of the likeliest classes; None where there is nothing to show.
        explanation: the figure of :mod:`classify.explain`, if it was asked for.
        message: why there is nothing to show; empty if there is.
    """

    scores: dict[str, float] | None
    explanation: Image.Image | None
    message: str


class Answers:
    """Classifies what the page is given; one picture at a time, as all who look at the page share the classifier."""

    def __init__(self, classifier: PromptClassifier) -> None:
        self.classifier = classifier
        self._explainer = Explainer(classifier)
        self._lock = threading.Lock()

    def __call__(self, path: str | None, names: str, explain: bool) -> Answer:
        """The answer for one picture.

        Args:
            path: of the uploaded file; None where there is none.
            names: class names, one a line.
            explain: whether the figure is wanted.
        """
        if path is None:
            return Answer(None, None, "")
        picture = read_picture(path)
        if isinstance(picture, UnreadablePicture):
            return Answer(
                None, None, f"**{os.path.basename(path)} is no picture that can be read.** Give a JPEG, PNG, WebP, GIF, BMP or TIFF file."
            )
        try:
            with self._lock:
                return self._answer(picture, [line for line in names.splitlines() if line.strip()], explain)
        except (ValueError, PictureError) as error:
            return Answer(None, None, f"**The class names cannot be used:** {error}")

    def _answer(self, picture: Image.Image, names: list[str], explain: bool) -> Answer:
        self.classifier.classnames = checked_names(names)
        prediction = self.classifier.classify(picture, top=N_BARS)
        explanation = None
        if explain:
            png = io.BytesIO()
            self._explainer.figure(picture).savefig(png, dpi=150, format="png")
            explanation = Image.open(png)
        return Answer({score.name: score.probability for score in prediction.scores}, explanation, "")


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
        raise PageError(f"the page needs gradio, which is not installed ({error}): pip install 'gradio>=6'") from error
    if int(gradio.__version__.split(".")[0]) < 6:
        raise PageError(f"the page needs gradio 6 or later, and {gradio.__version__} is installed: pip install 'gradio>=6'")
    return gradio


def build_page(classifier: PromptClassifier) -> gradio.Blocks:
    """The page, not yet served.

    Raises:
        PageError: gradio is not installed.
    """
    gr = import_gradio()

    class Upload(gr.Image):
        """A picture as the path of its file, unread, so that a file that is none gets an answer and no failure."""

        is_template = True  # gradio: drawn in the browser as its parent

        def preprocess(self, payload: Any) -> str | None:
            return None if payload is None else payload.path

    answers = Answers(classifier)

    def answer(path: str | None, names: str, explain: bool) -> tuple[Any, Any, Any]:
        given = answers(path, names, explain)
        return (
            given.scores,
            gr.update(value=given.explanation, visible=given.explanation is not None),
            gr.update(value=given.message, visible=bool(given.message)),
        )

    own_names = "\n".join(classifier.classnames)
    with gr.Blocks(title=f"{classifier.file.method} prompts", analytics_enabled=False) as page:
        gr.Markdown(describe(classifier))
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                picture = Upload(label="Picture", sources=["upload", "clipboard"], height=300, elem_id="picture", buttons=[])
                names = gr.Textbox(own_names, label="Class names, one a line", lines=6, max_lines=14, elem_id="names")
                with gr.Row():
                    reset = gr.Button("Classes of the training", size="sm", elem_id="reset")
                    explain = gr.Checkbox(False, label="Show where it looks", elem_id="explain", container=False)
            with gr.Column(min_width=300):
                message = gr.Markdown(visible=False, elem_id="message")
                scores = gr.Label(label="Classes", num_top_classes=N_BARS, elem_id="scores")
        explanation = gr.Image(
            visible=False, label="Where it looks", interactive=False, elem_id="explanation", buttons=["download", "fullscreen"]
        )
        reset.click(lambda: own_names, outputs=names, api_visibility="private")
        gr.on(
            [picture.change, names.change, explain.change],
            answer,
            [picture, names, explain],
            [scores, explanation, message],
            trigger_mode="always_last",  # while one is computed, of all that is typed only the last waits
            show_progress="minimal",
            api_visibility="private",
        )
    return page


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
    with tempfile.TemporaryDirectory(prefix="prompt-page-", ignore_cleanup_errors=True) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
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
