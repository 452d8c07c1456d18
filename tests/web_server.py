"""A web server on this machine that serves files well or badly, at plain addresses and at the hub's."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COMMIT = "1" * 40


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`: path -> content.

    `behaviour` says for a path what goes wrong: "page" (a web page comes), "wrong" (one byte differs),
    "cut" (every answer ends after `cut_at` bytes), "no ranges", "cut, no ranges", or "broken" (status 500).
    `requests` are (method, path, Range).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}
        self.cut_at = 1000
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the test."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Prints nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        content, behaviour = self.server.files.get(self.path), self.server.behaviour.get(self.path, "")
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})  # as the hub's
        elif behaviour == "broken":
            self.answer(500, b"")
        elif behaviour == "page":
            self.answer(200, b"<!DOCTYPE html><html>Please log in</html>")
        else:
            self.serve(content, behaviour)

    def serve(self, content: bytes, behaviour: str) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if behaviour == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": etag, "X-Repo-Commit": COMMIT}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, start = 200, 0
        if asked and "no ranges" not in behaviour:
            status, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if start >= len(content):
            self.answer(416, b"")
        else:
            n_sent = self.server.cut_at if behaviour.startswith("cut") else len(content)
            self.answer(status, content[start:], headers, n_sent)

    def answer(self, status: int, body: bytes, headers: dict | None = None, n_sent: int = 2**30) -> None:
        self.send_response(status)
        headers = {**(headers or {}), "Content-Length": str(len(body)), "Connection": "close"}
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:n_sent])


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, which stands for the web and for the Hugging Face hub."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
