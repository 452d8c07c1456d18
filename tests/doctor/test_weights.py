"""Weights: present and whole, or what is wrong with them, without a model being built."""

import hashlib
import io
import os
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from clip import weights as clip_weights
from clip.checksums import cache_dir
from diagnosis import inspect_weights
from diagnosis.weights import UnknownWeightsError, why_not_whole
from tests.weights_files import write_openai_archive

STATE = {"logit_scale": torch.tensor(4.6), "visual.proj": torch.arange(12.0).reshape(3, 4)}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home folder without weights, and a hub's cache without any."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    return tmp_path / "home"


@pytest.fixture
def published(monkeypatch):
    """published(path): makes the file the one that OpenAI published as ViT-B/16."""
    import dataclasses

    def build(path):
        models = dict(clip_weights.published_models())
        models["ViT-B/16"] = dataclasses.replace(models["ViT-B/16"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for module in ("clip.weights", "diagnosis.weights"):
            monkeypatch.setattr(f"{module}.published_models", lambda: models)

    return build


def write_formats(folder):
    folder.mkdir(exist_ok=True)
    save_file(STATE, folder / "a.safetensors")
    torch.save(STATE, folder / "b.pt")
    return [folder / "a.safetensors", folder / "b.pt", write_openai_archive(STATE, folder / "c.pt")]


def test_whole_files_of_every_format_pass(tmp_path):
    for path in write_formats(tmp_path / "files"):
        report = inspect_weights(str(path))
        assert report.is_sound and report.n_bytes == path.stat().st_size, path
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert inspect_weights(str(tmp_path / "old.pt")).is_sound


@pytest.mark.parametrize("share", (0.0, 0.01, 0.3, 0.6, 0.999))
def test_a_file_cut_anywhere_is_not_whole(share, tmp_path):
    for path in write_formats(tmp_path / "files"):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        (finding,) = inspect_weights(str(path)).findings
        assert str(path) in finding.what and not finding.is_command, path


def test_a_changed_byte_of_an_archive_is_seen(tmp_path):
    path = write_formats(tmp_path / "files")[1]
    content = path.read_bytes()
    data = torch.arange(12.0).numpy().tobytes()
    assert content.count(data) == 1
    path.write_bytes(content.replace(data, data[:-1] + b"\x01"))
    assert "is damaged: the checksum of its entry" in inspect_weights(str(path)).findings[0].what


def bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(10**6))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"  <!DOCTYPE html>", "is a web page, not weights"),
        (b"hello, this is text", "is no weights file"),
        (b"\xff" * 8 + b"{}", "is truncated within its header"),
        (b"\x02" + b"\0" * 7 + b"{]", "its header is no safetensors header"),
        (b"\x04" + b"\0" * 7 + b'{"a"', "its header is no safetensors header"),
        (bomb(), "would unpack to more than 4 times"),
    ],
)
def test_other_files_are_named_for_what_they_are(content, what, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    assert what in why_not_whole(path)


def test_weights_that_are_not_on_this_machine(home):
    report = inspect_weights("ViT-B/16")
    assert (report.path, report.is_sound, report.findings[0].cure) == (None, False, "python tools/prepare.py --weights ViT-B/16")


def test_the_published_archive_is_whole_and_another_is_not(home, tmp_path, published):
    path = write_openai_archive(STATE, tmp_path / "small.pt")
    published(path)
    place = cache_dir() / "ViT-B-16.pt"
    place.parent.mkdir(parents=True)
    shutil.copy(path, place)
    assert inspect_weights("ViT-B/16").is_sound
    write_openai_archive({**STATE, "logit_scale": torch.tensor(1.0)}, place)
    (finding,) = inspect_weights("ViT-B/16").findings
    assert "is not the published file: its SHA-256 is" in finding.what
    assert finding.cure == f"rm {place} && python tools/prepare.py --weights ViT-B/16"


def test_a_file_of_the_hubs_cache_is_held_against_its_name(tmp_path, published):
    model = clip_weights.published_models()["ViT-B/16"]
    save_file(STATE, tmp_path / "small.safetensors")
    digest = hashlib.sha256((tmp_path / "small.safetensors").read_bytes()).hexdigest()
    repository = tmp_path / "hub" / f"models--{model.hub.replace('/', '--')}"
    snapshot, blob = repository / "snapshots" / ("1" * 40), repository / "blobs" / digest
    for folder in (snapshot, blob.parent, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text("1" * 40)
    shutil.move(tmp_path / "small.safetensors", blob)
    (snapshot / model.hub_file).symlink_to(os.path.relpath(blob, snapshot))
    report = inspect_weights("ViT-B/16")
    assert report.is_sound and report.path == str(snapshot / model.hub_file)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    (finding,) = inspect_weights("ViT-B/16").findings
    assert "is not the published file" in finding.what and str(blob) in finding.cure


def test_what_is_neither_a_name_nor_a_file(tmp_path):
    for name in ("ViT-B/15", str(tmp_path / "nowhere.pt"), "open_clip:ViT-B-16/nobody"):
        with pytest.raises(UnknownWeightsError, match="ViT-B"):
            inspect_weights(name)


def test_weights_of_open_clip_that_are_not_here():
    (finding,) = inspect_weights("open_clip:ViT-B-16/laion2b_s34b_b88k").findings
    assert finding.cure == "python tools/prepare.py --weights open_clip:ViT-B-16/laion2b_s34b_b88k"
