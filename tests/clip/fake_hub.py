"""A web server on this machine that answers like the Hugging Face hub, and serves plain files."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMIT = "1" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Serves `folder/<owner>/<repository>/<file>` as the hub does, and `folder/files/<file>` as it is.

    A repository whose name begins with `broken` answers 500.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        on_hub = re.fullmatch(rf"/([^/]+/[^/]+)/resolve/(?:main|{COMMIT})/([^/]+)", self.path)
        path = self.server.folder / (f"{on_hub[1]}/{on_hub[2]}" if on_hub else self.path.strip("/"))
        if on_hub and "/broken" in on_hub[1]:
            self._send(500, {})
        elif not path.is_file():
            code = "EntryNotFound" if path.parent.is_dir() else "RepoNotFound"
            self._send(404, {"X-Error-Code": code, "X-Error-Message": code})
        else:
            content = path.read_bytes()
            self._send(
                200, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content
            )

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """A running `Hub` for the files of `folder`."""
    with Hub(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
