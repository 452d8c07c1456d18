"""Weights by name and by path, in every format, whole, damaged and hostile."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import clip
from clip import CLIP, CLIPConfig, weights
from clip.archive import WeightsFileError, read_weights
from clip.checksums import sha256_of
from clip.download import LOCKS
from tests.weights_files import write_openai_archive

SMALL = CLIPConfig(32, 32, 2, 64, 16, 16, 300, 64, 2)
SMALL_RESNET = CLIPConfig(32, 32, (1, 1, 1, 1), 16, None, 16, 300, 64, 2)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {k: v.half().float() for k, v in CLIP(SMALL).state_dict().items()}  # values that float16 holds exactly


def same(model: CLIP, state: dict[str, Tensor]) -> bool:
    """Whether a loaded model has exactly these parameters, in float32."""
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(loaded[k].dtype == torch.float32 and torch.equal(loaded[k], v) for k, v in state.items())


def test_openai_archive(state: dict[str, Tensor], tmp_path: Path) -> None:
    model = clip.load(write_openai_archive(state, tmp_path / "archive.pt"))
    assert same(model, state)
    assert model.config == SMALL
    assert not model.training


def test_openai_archive_of_a_resnet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v.half().float() if v.is_floating_point() else v for k, v in CLIP(SMALL_RESNET).state_dict().items()}
    model = clip.load(write_openai_archive(state, tmp_path / "resnet.pt"))
    assert model.config == SMALL_RESNET
    assert all(torch.equal(model.state_dict()[k], v) for k, v in state.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors(state: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "model.safetensors"
    save_file({k: v.to(dtype).contiguous() for k, v in state.items()}, path)
    expected = {k: v.to(dtype).float() for k, v in state.items()}
    model = clip.load(path)
    assert same(model, expected)
    assert model.config.quick_gelu


def test_the_activation_is_read_from_the_header(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(state, path, {"activation": "gelu"})
    assert not clip.load(path).config.quick_gelu


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3}])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(state: dict[str, Tensor], tmp_path: Path, wrap, zipped: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    assert same(clip.load(path), state)


def write_formats(state: dict[str, Tensor], folder: Path) -> list[Path]:
    """One file of each format."""
    save_file(state, folder / "a.safetensors")
    torch.save(state, folder / "b.pt")
    write_openai_archive(state, folder / "c.pt")
    return [folder / "a.safetensors", folder / "b.pt", folder / "c.pt"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files_are_named(state: dict[str, Tensor], tmp_path: Path, keep: float) -> None:
    for path in write_formats(state, tmp_path):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(WeightsFileError, match="truncated|cannot be read as weights") as error:
            clip.load(path)
        assert str(path) in str(error.value)


def test_a_flipped_bit_in_an_archive_is_found(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write_openai_archive(state, tmp_path / "archive.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsFileError, match="CRC|cannot be read"):
        clip.load(path)


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_code_in_a_file_is_not_run(state: dict[str, Tensor], tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    torch.save(state | {"x": Hostile(marker)}, tmp_path / "hostile.pt")
    archive = write_openai_archive(state, tmp_path / "archive.pt")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(tmp_path / "hostile_archive.pt", "w") as target:
        for name in source.namelist():
            target.writestr(name, pickle.dumps(Hostile(marker)) if name.endswith("/data.pkl") else source.read(name))
    for name in ("hostile.pt", "hostile_archive.pt"):
        with pytest.raises(WeightsFileError):
            clip.load(tmp_path / name)
        assert not marker.exists()


def test_what_else_a_file_may_be_is_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(
        WeightsFileError, match=r"holds pickled objects \(torch\.nn.*\), which could run code.*save its state_dict\(\)"
    ) as error:
        clip.load(tmp_path / "module.pt")
    assert "weights_only" not in str(error.value)
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>Too many requests</html>")
    with pytest.raises(WeightsFileError, match="is a web page, not weights"):
        clip.load(tmp_path / "page.pt")
    torch.save(state | {"text_projection": state["text_projection"] / 0}, tmp_path / "infinite.pt")
    with pytest.raises(WeightsFileError, match="not finite in 1 arrays, text_projection the first"):
        clip.load(tmp_path / "infinite.pt")


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/constants.pkl", b"")
        archive.writestr("bomb/data.pkl", b"\0" * 200_000_000)
    with pytest.raises(WeightsFileError, match="would unpack to"):
        clip.load(tmp_path / "bomb.pt")


def test_another_architecture_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3), "fc.weight": torch.zeros(2)}, tmp_path / "resnet.pt")
    with pytest.raises(WeightsFileError, match="no weights of a CLIP: text_projection"):
        clip.load(tmp_path / "resnet.pt")
    torch.save(state | {"visual.extra": torch.zeros(1)}, tmp_path / "extra.pt")
    with pytest.raises(WeightsFileError, match=r"not of CLIP's architecture.*visual\.extra"):
        clip.load(tmp_path / "extra.pt")
    torch.save({k: v for k, v in state.items() if k != "visual.ln_post.bias"}, tmp_path / "less.pt")
    with pytest.raises(WeightsFileError, match=r"visual\.ln_post\.bias"):
        clip.load(tmp_path / "less.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsFileError, match="holds list, not a dictionary"):
        clip.load(tmp_path / "list.pt")


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'ViT-B16', which is neither .* Did you mean ViT-B/16\? Known names: RN50, .*Tiny-Shapes"):
        clip.load("ViT-B16")


# Published names


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and a hub that is switched off."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = lambda *a: http.server.SimpleHTTPRequestHandler(*a, directory=str(folder))  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", folder
        httpd.shutdown()


def cached(home: Path) -> list[str]:
    """Names in the cache, without the locks of those who fetch."""
    return [path.name for path in (home / ".cache/clip").iterdir() if path.name != LOCKS]


def publish(state: dict[str, Tensor], name: str, monkeypatch: pytest.MonkeyPatch, url: str, sha256: str) -> weights.PublishedModel:
    """Let a published name stand for a small model at ``url``."""
    published = weights.PublishedModel("ViT-B/16", name, sha256, url, "example/none", "model.safetensors", SMALL)
    monkeypatch.setattr(weights, "published_models", lambda: {"ViT-B/16": published})
    return published


def test_the_published_models() -> None:
    models = weights.published_models()
    assert list(models) == ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]
    b16 = models["ViT-B/16"]
    assert b16.sha256 == "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"
    assert (b16.file, b16.hub, b16.hub_file) == ("ViT-B-16.pt", "timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors")
    assert len({m.sha256 for m in models.values()}) == 9
    with torch.device("meta"):  # the sizes are those of the published counts: 149,620,737 parameters of ViT-B/16, 102,007,137 of RN50
        assert sum(p.numel() for p in CLIP(b16.config).parameters()) == 149_620_737
        assert sum(p.numel() for p in CLIP(models["RN50"].config).parameters()) == 102_007_137


@pytest.mark.parametrize("name", list(weights.published_models()))
def test_the_facts_equal_open_clips(name: str) -> None:
    from open_clip.pretrained import get_pretrained_cfg

    ours, theirs = weights.published_models()[name], get_pretrained_cfg(name.replace("/", "-").replace("@336px", "-336"), "openai")
    assert ours.url == theirs["url"]
    assert ours.hub == theirs["hf_hub"].strip("/")


def test_nothing_here_and_no_network_is_said(home: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    publish(state, "small.pt", monkeypatch, "http://127.0.0.1:9/small.pt", "0" * 64)
    with pytest.raises(weights.WeightsNotFoundError) as error:
        clip.load("ViT-B/16")
    for part in (
        "ViT-B/16 are not on this machine",
        str(home / ".cache/clip/small.pt"),
        "hub's cache",
        "Fetching them failed",
        "127.0.0.1:9",
        "To get them",
    ):
        assert part in str(error.value)
    assert cached(home) == []  # no half-made file


def test_the_archive_is_fetched_checked_and_kept(home: Path, server, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    url, folder = server
    archive = write_openai_archive(state, folder / "small.pt")
    publish(state, "small.pt", monkeypatch, f"{url}/small.pt", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert same(clip.load("ViT-B/16"), state)
    archive.unlink()
    assert same(clip.load("ViT-B/16"), state)  # from the cache, without a question to the server
    assert weights.find_local("ViT-B/16") == home / ".cache/clip/small.pt"


def test_a_download_with_another_hash_is_thrown_away(home: Path, server, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    url, folder = server
    write_openai_archive(state, folder / "small.pt")
    publish(state, "small.pt", monkeypatch, f"{url}/small.pt", "0" * 64)
    with pytest.raises(weights.WeightsNotFoundError, match="it was thrown away"):
        clip.load("ViT-B/16")
    assert cached(home) == []


def test_another_whole_file_in_the_cache_is_used_and_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, state: dict[str, Tensor]
) -> None:
    publish(state, "small.pt", monkeypatch, "http://127.0.0.1:9/small.pt", "0" * 64)
    write_openai_archive(state, home / ".cache/clip/small.pt")
    assert same(clip.load("ViT-B/16"), state)
    assert "small.pt is not the file that OpenAI published as ViT-B/16" in capsys.readouterr().out


def test_a_file_of_another_architecture_in_the_cache_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    other = CLIP(CLIPConfig(32, 32, 3, 64, 16, 16, 300, 64, 2)).state_dict()
    path = write_openai_archive(other, home / ".cache/clip/small.pt")
    publish(state, "small.pt", monkeypatch, "http://127.0.0.1:9/small.pt", sha256_of(path))
    with pytest.raises(WeightsFileError, match="does not hold ViT-B/16: vision_layers is 3, not 2. Delete it"):
        clip.load("ViT-B/16")


def test_the_hubs_cache_is_used_and_its_hash_checked(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    published = publish(state, "small.pt", monkeypatch, "http://127.0.0.1:9/small.pt", "0" * 64)
    save_file(state, tmp_path / "model.safetensors")
    digest = sha256_of(tmp_path / "model.safetensors")
    repo, commit = tmp_path / "hub" / "models--example--none", "1" * 40
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (repo / folder).mkdir(parents=True)
    shutil.move(tmp_path / "model.safetensors", repo / "blobs" / digest)
    (repo / "refs/main").write_text(commit)
    (repo / f"snapshots/{commit}/{published.hub_file}").symlink_to(repo / "blobs" / digest)
    monkeypatch.setattr(weights, "_in_hub_cache", lambda p: _cached(p, tmp_path / "hub"))
    assert same(clip.load("ViT-B/16"), state)
    blob = bytearray((repo / "blobs" / digest).read_bytes())
    blob[-1] ^= 1
    (repo / "blobs" / digest).write_bytes(blob)
    with pytest.raises(WeightsFileError, match=f"is damaged: its SHA-256 is not {digest}"):
        clip.load("ViT-B/16")


def _cached(published: weights.PublishedModel, cache_dir: Path) -> Path:
    from huggingface_hub import try_to_load_from_cache

    return Path(try_to_load_from_cache(published.hub, published.hub_file, cache_dir=cache_dir))


def test_reading_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights file at"):
        read_weights(tmp_path / "none.pt")
