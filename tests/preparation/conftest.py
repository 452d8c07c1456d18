"""A bad server, and downloads that lose patience soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clip import download
from clip.download import Patience
from preparation import fetch
from tests.preparation.server import Server, serving
from tests.preparation.world import World

HASTE = Patience(timeout=1.0, head=5.0, min_rate=4096, window=0.3, tries=2, pause=0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that stands for the web, the hub and Google Drive; no request leaves this machine."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "PATIENCE", HASTE)
    monkeypatch.setattr(fetch, "PATIENCE", HASTE)
    with serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(fetch, "DRIVE_URL", running.url + "/uc?export=download&id={id}")
        yield running


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    return World(server, tmp_path)
