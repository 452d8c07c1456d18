"""Fetching by the real client of the hub, in a process of its own, from a server on this machine; and hashes that are computed once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clip import CLIP, CLIPConfig, checksums
from clip.checksums import remembered_sha256, sha256_of
from tests.clip.fake_hub import hub
from tests.weights_files import write_openai_archive

ROOT = Path(__file__).parents[2]
SIZES = {"embed_dim": 32, "image_size": 32, "vision_layers": 2, "vision_width": 64, "patch_size": 16, "context_length": 16}
SIZES |= {"vocab_size": 300, "text_width": 64, "text_layers": 2}
# The waits of the hub's client between two tries, half a minute in all, are left out.
WITHOUT_WAITS = "import time; time.sleep = lambda seconds: None\n"
# Loads each name and tells, a JSON line each, the mean of a parameter or the error; the real functions, with another table of published models.
LOADER = """
import json, sys
from pathlib import Path
from clip import weights
facts, names = sys.argv[1], json.loads(sys.argv[2])
weights.PUBLISHED_MODELS_PATH = Path(facts)
for name in names:
    try:
        print("RESULT", json.dumps([name, float(weights.load(name).visual.proj.mean()), str(weights.find_local(name))]))
    except weights.WeightsNotFoundError as e:
        print("RESULT", json.dumps([name, "not found", str(e)]))
"""
OPEN_CLIP_LOADER = """
import sys
import open_clip
from open_clip.factory import add_model_config
from open_clip.pretrained import _PRETRAINED
folder, url = sys.argv[3:]
add_model_config(folder + "/small-vit.json")
tag = lambda hf_hub="", url="": {"hf_hub": hf_hub, "url": url, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_PRETRAINED["small-vit"] = {
    "safe": tag("example/both/", url + "/files/none.pt"),
    "bin": tag("example/bin/"),
    "address": tag("example/none/", url + "/files/small.pt"),
    "nowhere": tag("example/none/", url + "/files/none.pt"),
}
"""


def state_of(seed: int, sizes: dict[str, Any] = SIZES) -> dict[str, Tensor]:
    """Random weights; values that float16 holds exactly."""
    torch.manual_seed(seed)
    return {k: v.half().float() for k, v in CLIP(CLIPConfig(**sizes)).state_dict().items()}


def mean(state: dict[str, Tensor]) -> float:
    return float(state["visual.proj"].mean())


def run(folder: Path, url: str, script: str, *arguments: str) -> tuple[list[Any], str]:
    """What ``script`` tells in a process whose home is ``folder`` and whose hub is ``url``."""
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
    environment |= {"HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WAITS + script, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")], done.stdout


def publish(folder: Path, url: str, repositories: dict[str, str], sha256: str) -> Path:
    """A table of published models, one a repository, all with the same archive."""
    models = {
        name: {"file": f"{name}.pt", "sha256": sha256, "hub": repository, "config": SIZES} for name, repository in repositories.items()
    }
    facts = {"archive_url": url + "/files/{sha256}/{file}", "hub_file": "open_clip_model.safetensors", "models": models}
    path = folder / "published.json"
    path.write_text(json.dumps(facts))
    return path


def test_the_hub_is_preferred_and_the_archive_takes_its_place(tmp_path: Path) -> None:
    on_hub, in_archive = state_of(1), state_of(2)
    served = tmp_path / "served"
    fallen_back = ["absent", "broken", "cut", "empty"]
    names = {name: f"example/{name}" for name in ["good", *fallen_back, "nowhere"]}
    for name in ("good", "cut"):
        (served / "example" / name).mkdir(parents=True)
        save_file(on_hub, served / "example" / name / "open_clip_model.safetensors")
    (served / "example/empty").mkdir()  # a repository without the file
    archive = write_openai_archive(in_archive, served / "files/good.pt")
    for name in fallen_back:
        shutil.copy(archive, served / f"files/{name}.pt")
    with hub(served) as server:
        facts = publish(tmp_path, server.url, names, sha256_of(archive))
        results, output = run(tmp_path, server.url, LOADER, str(facts), json.dumps([*names, *list(names)[:-1]]))
    asked = Counter(server.requests)
    assert [r[0] for r in results] == [*names, *list(names)[:-1]]
    assert results[6:] == results[:5]  # from the caches
    assert results[0][1] == pytest.approx(mean(on_hub), abs=1e-7)
    assert results[0][2].startswith(str(tmp_path / "hf"))
    assert asked["GET /example/good/resolve/main/open_clip_model.safetensors"] == 1
    assert not [r for r in asked if "/files/" in r and "good.pt" in r]  # OpenAI was not asked
    for name, value, path in results[1:5]:
        assert value == pytest.approx(mean(in_archive), abs=1e-7), output
        assert path == str(tmp_path / f"home/.cache/clip/{name}.pt")
        assert asked[f"HEAD /example/{name}/resolve/main/open_clip_model.safetensors"] >= 1
        assert asked[f"GET /files/{sha256_of(archive)}/{name}.pt"] == 1
    assert asked["GET /example/cut/resolve/main/open_clip_model.safetensors"] >= 1
    assert results[5][1] == "not found"
    for part in (
        "nowhere are not on this machine",
        "the hub (example/nowhere",
        "Fetching them failed",
        ".cache/clip/nowhere.pt",
        "HTTP Error 404",
    ):
        assert part in results[5][2]


def test_names_of_open_clip_are_fetched_by_it(tmp_path: Path) -> None:
    model_cfg = {
        "embed_dim": 32,
        "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    (tmp_path / "small-vit.json").write_text(json.dumps(model_cfg))
    served, states = tmp_path / "served", []
    for seed in range(4):
        torch.manual_seed(seed)
        states.append(open_clip.CLIP(**model_cfg).state_dict())
    for folder in ("example/both", "example/bin", "files"):
        (served / folder).mkdir(parents=True)
    save_file(states[0], served / "example/both/open_clip_model.safetensors")
    torch.save(states[1], served / "example/both/open_clip_pytorch_model.bin")
    torch.save(states[2], served / "example/bin/open_clip_pytorch_model.bin")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in states[3].items()}}, served / "files/small.pt")
    names = [f"open_clip:small-vit/{tag}" for tag in ("safe", "bin", "address", "nowhere")]
    with hub(served) as server:
        facts = publish(tmp_path, server.url, {}, "0" * 64)
        arguments = (str(facts), json.dumps([*names, *names[:3]]), str(tmp_path), server.url)
        results, output = run(tmp_path, server.url, OPEN_CLIP_LOADER + LOADER, *arguments)
    assert [r[1] for r in results[:3]] == [pytest.approx(mean(states[i]), abs=1e-7) for i in (0, 2, 3)]
    assert results[4:] == results[:3]
    asked = Counter(r for r in server.requests if r.startswith("GET /example/") or r.startswith("GET /files/"))
    assert asked == {
        "GET /example/both/resolve/main/open_clip_model.safetensors": 1,
        "GET /example/bin/resolve/main/open_clip_pytorch_model.bin": 1,
        "GET /files/small.pt": 1,
        "GET /files/none.pt": 1,
    }
    # Whether it answers, and by open_clip; the second time, the hub was not asked.
    assert server.requests.count("HEAD /example/both/resolve/main/open_clip_model.safetensors") == 2
    assert results[3][1] == "not found"
    for part in ("the hub (example/none): ", "/files/none.pt: HTTP Error 404", ".cache/clip/none.pt"):
        assert part in results[3][2]
    assert output.count("set INPUT.PIXEL_MEAN to [0.5, 0.5, 0.5]") == 7


# Hashes


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the cache of an empty home folder, long settled."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", -1)  # no waiting in the tests
    path = tmp_path / ".cache/clip/a.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights" * 1000)
    return path


def forge(path: Path, digest: str) -> None:
    """Put another hash into the memory, which shows whether the memory or the file was read."""
    memory = json.loads(path.with_name("sha256.json").read_text())
    memory[str(path)]["sha256"] = digest
    path.with_name("sha256.json").write_text(json.dumps(memory))


def test_a_hash_is_computed_once(cached: Path) -> None:
    right = hashlib.sha256(b"weights" * 1000).hexdigest()
    assert remembered_sha256(cached) == right
    forge(cached, "f" * 64)
    assert remembered_sha256(cached) == "f" * 64  # from the memory: the file was not read


@pytest.mark.parametrize("change", ["content", "content, size and time as before", "replaced by a copy"])
def test_a_changed_file_is_hashed_again(cached: Path, change: str) -> None:
    remembered_sha256(cached)
    forge(cached, "f" * 64)
    status, other = cached.stat(), b"WEIGHTS" * 1000
    if change == "replaced by a copy":
        new = cached.with_name("new")
        new.write_bytes(other)
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.replace(cached)
    else:
        cached.write_bytes(other + b"!" if change == "content" else other)
    if "as before" in change:
        os.utime(cached, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert remembered_sha256(cached) == sha256_of(cached)


def test_a_file_that_just_changed_is_not_remembered(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", 60)
    remembered_sha256(cached)
    assert not cached.with_name("sha256.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"PATH": 3}', '{"PATH": {"identity": IDENTITY, "sha256": "short"}}'])
def test_a_broken_memory_is_made_anew(cached: Path, content: str) -> None:
    identity = json.dumps(checksums._identity(cached))
    cached.with_name("sha256.json").write_text(content.replace("PATH", str(cached)).replace("IDENTITY", identity))
    assert remembered_sha256(cached) == sha256_of(cached)
    forge(cached, "f" * 64)
    assert remembered_sha256(cached) == "f" * 64


def test_a_memory_that_cannot_be_written_is_done_without(cached: Path) -> None:
    cached.with_name("sha256.json").mkdir()
    assert remembered_sha256(cached) == sha256_of(cached)
    assert sorted(p.name for p in cached.parent.iterdir()) == ["a.pt", "sha256.json"]  # nothing half-made stays


def test_files_that_are_gone_are_forgotten(cached: Path) -> None:
    other = cached.with_name("b.pt")
    other.write_bytes(b"1")
    remembered_sha256(other)
    other.unlink()
    remembered_sha256(cached)
    assert list(json.loads(cached.with_name("sha256.json").read_text())) == [str(cached)]
