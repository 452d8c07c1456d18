"""A web server on this machine that serves files well or badly, at plain addresses and at the hub's."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COMMIT = "1" * 40
CUT_AT = 1000  # bytes


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`: path -> content.

    `behaviour` says for a path what goes wrong: "cut" (every answer ends after `CUT_AT`), "no ranges",
    "cut, no ranges", or "broken" (status 500).
    `requests` are (method, path, Range).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the test."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Prints nothing."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.command, self.path, asked))
        content, behaviour = self.server.files.get(self.path), self.server.behaviour.get(self.path, "")
        status, headers, n_sent = 200, {}, 2**30
        if content is None:
            status, content, headers = 404, b"", {"X-Error-Code": "EntryNotFound"}  # as the hub's
        elif behaviour == "broken":
            status, content = 500, b""
        else:
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            if asked and "no ranges" not in behaviour:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                status, content = (206, content[start:]) if start < len(content) else (416, b"")
            if behaviour.startswith("cut"):
                n_sent = CUT_AT
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:n_sent])

    do_HEAD = do_GET


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, which stands for the web and for the Hugging Face hub."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        for module in ("constants", "file_download"):  # the latter has a copy in older releases
            name = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
            monkeypatch.setattr(name, template, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
