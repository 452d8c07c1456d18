"""Weights are fetched by the real clients, in a process of its own, from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from clip import CLIP, CLIPConfig
from tests.clip.fake_hub import hub
from tests.weights_files import write_openai_archive

ROOT = Path(__file__).parents[2]
SIZES = {"embed_dim": 32, "image_size": 32, "vision_layers": 2, "vision_width": 64, "patch_size": 16}
SIZES |= {"context_length": 16, "vocab_size": 300, "text_width": 64, "text_layers": 2}
# Loads each name with another table of published models, without the waits of the clients between two tries.
LOADER = """
import json, sys, time
from pathlib import Path
time.sleep = lambda seconds: None
from clip import weights
weights.PUBLISHED_MODELS_PATH = Path(sys.argv[1])
for name in json.loads(sys.argv[2]):
    try:
        result = [weights.load(name).visual.proj.mean().item(), str(weights.find_local(name))]
    except weights.WeightsNotFoundError as error:
        result = ["not found", str(error)]
    print("RESULT", json.dumps(result))
"""


def state_of(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {key: value.half().float() for key, value in CLIP(CLIPConfig(**SIZES)).state_dict().items()}


def load(
    folder: Path, url: str, models: dict[str, tuple[str, str]], names: list[str], **more: str
) -> list[Any]:
    """What loading `names` gives; `folder` is the home, `url` the hub, and `models` give hub and SHA-256."""
    entries = {
        name: {"file": f"{name}.pt", "sha256": sha256, "hub": repository, "config": SIZES}
        for name, (repository, sha256) in models.items()
    }
    facts = {"archive_url": url + "/files/{file}", "models": entries}
    (folder / "published.json").write_text(json.dumps(facts))
    environment = {
        k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")
    }
    environment |= {
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": url,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", LOADER, str(folder / "published.json"), json.dumps(names)]
    done = subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


def test_the_hub_is_preferred_and_the_archive_takes_its_place(tmp_path: Path) -> None:
    served = tmp_path / "served"
    (served / "example/good").mkdir(parents=True)
    (served / "example/bin").mkdir()
    (served / "example/empty").mkdir()  # a repository without the file
    states = [state_of(seed) for seed in range(3)]
    save_file(states[0], served / "example/good/open_clip_model.safetensors")
    torch.save({"state_dict": states[1]}, served / "example/bin/open_clip_pytorch_model.bin")
    for name in ("absent", "broken", "empty", "other"):
        write_openai_archive(states[2], served / f"files/{name}.pt")
    sha256s = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (served / "files").iterdir()
    }
    sha256s["other"] = "0" * 64  # the served file is another one
    names = ["good", "bin", "absent", "broken", "empty", "other", "nowhere"]
    models = {name: (f"example/{name}", sha256s.get(name, "0" * 64)) for name in names}
    with hub(served) as server:
        results = load(tmp_path, server.url, models, names)
        n_requests = len(server.requests)
        again = load(tmp_path, server.url, models, names[:5])
        assert len(server.requests) == n_requests  # from the caches
    assert again == results[:5]
    means = [state["visual.proj"].mean().item() for state in states]
    for (value, path), expected in zip(results[:5], [0, 1, 2, 2, 2], strict=True):
        assert abs(value - means[expected]) < 1e-6
        assert path.startswith(str(tmp_path / ("hf" if expected < 2 else ".cache/clip")))
    assert not any("good.pt" in request or "bin.pt" in request for request in server.requests)
    for name, (value, message) in zip(names[5:], results[5:], strict=True):
        assert value == "not found"
        for part in (f"example/{name}", f".cache/clip/{name}.pt", f"python -m prepare weights {name}"):
            assert part in message
        assert not (tmp_path / f".cache/clip/{name}.pt").exists()


def test_nothing_is_fetched_offline(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with hub(tmp_path / "served") as server:
        models = {"good": ("example/good", "0" * 64)}
        ((value, message),) = load(tmp_path, server.url, models, ["good"], HF_HUB_OFFLINE="1")
        assert not server.requests
    assert value == "not found" and "HF_HUB_OFFLINE" in message
