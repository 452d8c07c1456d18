"""tools/prepare.py --weights, with the hub's real client, from a server on this machine: every format makes the round trip, no trouble takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clip import weights
from clip.checksums import sha256_of
from clip.config import CLIPConfig
from clip.download import DownloadError
from clip.model import CLIP
from clip.open_clip_models import OpenClipWeights
from preparation.sources import load_table
from tests.preparation.archives import hub_path
from tests.preparation.server import Server
from tests.weights_files import write_openai_archive
from tools import prepare

ROOT = Path(__file__).parents[2]
SIZES: dict[str, Any] = {"embed_dim": 32, "image_size": 32, "vision_layers": 2, "vision_width": 64, "patch_size": 16, "context_length": 16}
SIZES |= {"vocab_size": 300, "text_width": 64, "text_layers": 2}
SCRIPT = """
import json, sys
from pathlib import Path
from clip import weights
from tools import prepare
weights.PUBLISHED_MODELS_PATH = Path(sys.argv[1])
sys.exit(prepare.main(["--weights", *sys.argv[2:]]))
"""


def state(seed: int) -> dict[str, torch.Tensor]:
    """Random weights of a small CLIP, in values that float16 holds."""
    torch.manual_seed(seed)
    return {k: v.half().float() for k, v in CLIP(CLIPConfig(**SIZES)).state_dict().items()}


def publish(folder: Path, server: Server) -> Path:
    """Three published sets of weights: on the hub; where the hub is in trouble, as OpenAI's archive; and nowhere. Gives their table."""
    save_file(state(1), folder / "hub.safetensors")
    archive = write_openai_archive(state(2), folder / "openai.pt")
    sha256 = sha256_of(archive)
    server.files["/example/hub/resolve/main/open_clip_model.safetensors"] = (folder / "hub.safetensors").read_bytes()
    server.files[f"/openai/{sha256}/trouble.pt"] = archive.read_bytes()
    server.behaviour |= {"/example/trouble/resolve/main/open_clip_model.safetensors": "500", f"/openai/{sha256}/trouble.pt": "cut once"}
    models = {
        name: {"file": f"{name}.pt", "sha256": sha256, "hub": f"example/{name}", "config": SIZES} for name in ("hub", "trouble", "nowhere")
    }
    facts = {"archive_url": server.url + "/openai/{sha256}/{file}", "hub_file": "open_clip_model.safetensors", "models": models}
    (folder / "published.json").write_text(json.dumps(facts))
    return folder / "published.json"


def run(folder: Path, server: Server, *names: str) -> subprocess.CompletedProcess:
    """The command, in a process whose home is ``folder`` and whose hub is the server."""
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
    environment |= {"HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder / "published.json"), *names]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_weights_come_from_the_hub_and_from_openai(server: Server, tmp_path: Path) -> None:
    publish(tmp_path, server)
    torch.save(state(3), tmp_path / "plain.pt")
    done = run(tmp_path, server, "hub", "trouble", "nowhere", str(tmp_path / "plain.pt"))
    assert done.returncode == 1
    # The hub's client, which would ask a hub in trouble again and again for 23 s, was not set on it.
    assert len(server.asked("/example/trouble/resolve/main/open_clip_model.safetensors", "HEAD")) == 1
    n_parameters = sum(v.numel() for v in state(1).values())
    for name, path in (
        ("hub", f"{tmp_path}/hf/hub/models--example--hub/snapshots/"),
        ("trouble", f"{tmp_path}/home/.cache/clip/trouble.pt, whole"),
        (str(tmp_path / "plain.pt"), str(tmp_path / "plain.pt")),
    ):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name}: "))
        assert path in line and f"whole, {n_parameters:,} parameters" in line
    for part in ("Error: nowhere: The CLIP weights nowhere are not on this machine", "the hub (example/nowhere", "HTTP Error 404"):
        assert part in done.stderr
    asked = [h["Range"] for m, p, h in server.requests if (m, p.rpartition("/")[2]) == ("GET", "trouble.pt")]
    assert asked == [None, "bytes=1000-"]


def address(server: Server, name: str, **facts: str) -> OpenClipWeights:
    """Weights that open_clip has an address of."""
    return OpenClipWeights(f"open_clip:{name}", name, "tag", CLIPConfig(**SIZES), {"url": f"{server.url}/{name}.pt", **facts}, ())


def test_open_clip_s_addresses_are_fetched_whole_or_not_at_all(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(state(4), tmp_path / "made.pt")
    digest = sha256_of(tmp_path / "made.pt")
    name = f"vit_b_32-quickgelu-{digest[:8]}"
    server.files[f"/{name}.pt"] = (tmp_path / "made.pt").read_bytes()
    server.behaviour[f"/{name}.pt"] = "silent"
    wanted = address(server, name)
    (_, fetch), path = wanted.sources()[0], wanted.url_path
    with pytest.raises(DownloadError, match="in time"):
        fetch()
    server.behaviour[f"/{name}.pt"] = "wrong"
    with pytest.raises(DownloadError, match=f"not {digest[:8]}"):
        fetch()
    assert path is not None and not path.exists()
    server.behaviour.clear()
    assert fetch() == path and sha256_of(path) == digest
    path.write_bytes(b"half")  # as open_clip's own download may leave it
    assert fetch() == path and sha256_of(path) == digest


def test_offline_no_weights_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert prepare.main(["--weights", "RN50x64"]) == 1
    told = capsys.readouterr()
    assert "HF_HUB_OFFLINE is set: nothing was tried" in told.err and "python tools/prepare.py --weights RN50x64" in told.err
    assert "Fetching" not in told.out


def test_unknown_weights_are_told(capsys: pytest.CaptureFixture) -> None:
    assert prepare.main(["--weights", "ViT-B/17", "Tiny-Shapes"]) == 1
    told = capsys.readouterr()
    assert "'ViT-B/17', which is neither a known name nor an existing file. Did you mean ViT-B/16?" in told.err
    assert "Tiny-Shapes: " in told.out and str(weights.BUNDLED["Tiny-Shapes"]) in told.out


def test_the_hub_s_addresses_are_of_data_sets() -> None:
    """The test server's idea of the hub's paths is the hub client's."""
    from huggingface_hub import hf_hub_url

    for dataset in load_table().values():
        for source in (source for file in dataset.files for source in file.sources if source.way == "hub"):
            owner, repository, file = source.address.split("/", 2)
            url = hf_hub_url(f"{owner}/{repository}", file, repo_type="dataset", revision=source.revision or None)
            assert url.endswith(hub_path({"hub": source.address, **({"revision": source.revision} if source.revision else {})}))
