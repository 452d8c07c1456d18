"""A web server on this machine that serves files well or badly: plain addresses, the hub's, and Google Drive's page before a file."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from urllib.parse import parse_qs, urlsplit

COMMIT = "1" * 40
ENDLESS_BYTES = 2**24  # where an answer without end does end after all, so that a client that believes in it does not fill a disk
DRIVE_PAGE = (
    "<!DOCTYPE html><html><body>"
    '<form id="download-form" action="{action}" method="get"><input type="hidden" name="id" value="{id}"></form></body></html>'
)
DRIVE_REFUSAL = (
    '<!DOCTYPE html><html><p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></html>'
)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``: path -> content.

    ``behaviour`` says for a path what goes wrong: a status such as ``404``, ``page``, ``silent``, ``drip``, ``drip head``, ``wrong`` (another content of
    the same length), ``short`` (another length), ``cut`` (every answer ends after ``cut_at`` bytes), ``cut once``, ``cut, no ranges``, ``chunked`` and
    ``chunked cut`` (no length is told; every answer ends in the middle), ``endless`` (no length is told, and it never ends).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}
        self.cut_at = 1000
        self.requests: list[tuple[str, str, Message]] = []
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, path: str, method: str = "GET") -> list[Message]:
        """The headers of every request for a path."""
        return [headers for m, p, headers in self.requests if (m, urlsplit(p).path) == (method, path)]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the test."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stays silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.command, self.path, self.headers))
        parts = urlsplit(self.path)
        if parts.path == "/uc":
            self._drive(parse_qs(parts.query)["id"][0])
            return
        content, behaviour = self.server.files.get(parts.path), self.server.behaviour.get(parts.path, "")
        if behaviour.isdigit() or content is None:
            self._send(int(behaviour or 404), {"Content-Length": "0"})
        elif behaviour == "page":
            self._send_all(b"<!DOCTYPE html><html>Please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif behaviour == "silent":
            self.server.stopping.wait(10)
        elif behaviour == "drip head":
            with contextlib.suppress(OSError):  # the client goes away
                self._drip(b"HTTP/1.1 200 OK\r\nX-More: " + b"x" * 2000)
        else:
            self._file(content, behaviour)

    def _drive(self, file_id: str) -> None:
        path = f"/drive/{file_id}"
        if self.server.behaviour.get(path) == "drip page":
            self._send(200, {"Content-Type": "text/html", "Content-Length": "2000"})
            with contextlib.suppress(OSError):
                self._drip(b"x" * 2000)
        elif self.server.behaviour.get(path) == "refused":
            self._send_all(DRIVE_REFUSAL.encode(), {"Content-Type": "text/html; charset=utf-8"})
        elif path not in self.server.files:
            self._send(404, {"Content-Length": "0"})
        else:
            page = DRIVE_PAGE.format(action=f"{self.server.url}{path}", id=file_id)
            self._send_all(page.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _file(self, content: bytes, behaviour: str) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if behaviour == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        elif behaviour == "short":
            content = content[:-7]
        headers = {"Content-Type": "application/octet-stream", "ETag": etag, "X-Repo-Commit": COMMIT}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start, status = 0, 200
        if asked and self.headers.get("If-Range") == etag and "no ranges" not in behaviour:
            start, status = int(asked[1]), 206
            if start >= len(content):
                self._send(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if behaviour == "endless":
            self._endless(headers, content)
            return
        if "chunked" in behaviour:
            self._chunked(status, headers, body, "cut" in behaviour)
            return
        self._send(status, headers | {"Content-Length": str(len(body))})
        if self.command == "HEAD":
            return
        if behaviour == "drip":
            self._drip(body)
        elif behaviour.startswith("cut"):
            self.wfile.write(body[: self.server.cut_at])
            if behaviour == "cut once":
                self.server.behaviour.pop(urlsplit(self.path).path)
        else:
            self.wfile.write(body)

    def _chunked(self, status: int, headers: dict[str, str], body: bytes, is_cut: bool) -> None:
        self._send(status, headers | {"Transfer-Encoding": "chunked"})
        self.wfile.write(b"%x\r\n%s" % (len(body), body[: (len(body) + 1) // 2] if is_cut else body))
        if not is_cut:
            self.wfile.write(b"\r\n0\r\n\r\n")

    def _endless(self, headers: dict[str, str], content: bytes) -> None:
        self._send(200, headers)
        with contextlib.suppress(OSError):  # the client goes away, the sooner the better
            for _ in range(ENDLESS_BYTES // len(content)):
                self.wfile.write(content)

    def _drip(self, body: bytes) -> None:
        for byte in body:
            if self.server.stopping.is_set():
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.02)

    def _send_all(self, body: bytes, headers: dict[str, str]) -> None:
        self._send(200, headers | {"Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _send(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()


@contextmanager
def serving() -> Iterator[Server]:
    """A running :class:`Server`."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.stopping.set()
        server.shutdown()
