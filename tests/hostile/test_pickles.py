"""Weights and checkpoints from anywhere: what they ask for beyond tensors is refused in one message that names the file, and nothing of it happens."""

import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import clip
from clip import archive as clip_archive
from clip import pickled_tensors
from clip.archive import WeightsFileError, read_weights
from clip.config import CLIPConfig
from clip.model import CLIP
from dassl.utils import load_checkpoint
from dassl.utils import pickled_tensors as engine_copy
from dassl.utils.checkpoints import restore
from tests.weights_files import write_openai_archive

REPO = Path(__file__).resolve().parents[2]
SMALL = CLIPConfig(32, 32, 1, 64, 16, 16, 60, 64, 1)
TUPLE_BOMB = b"\x80\x02}N" + b"\x85" * 20_000 + b"K\x01s."  # {((((...)))): 1}: the hash of its key overflows the stack
WIDE_BOMB = b"\x80\x02}N" + b"2\x86" * 60 + b"K\x01s."  # {(t, t): 1} with t = (u, u), ...: the hash of its key takes 2**60 steps
BOMBS = {"deep tuples": TUPLE_BOMB, "tuples in tuples": WIDE_BOMB}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return CLIP(SMALL).state_dict()


def rewrite(path: Path, change: dict[str, bytes], out: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy of an archive with other contents of the entries that end in these names."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", compression) as target:
        for name in source.namelist():
            content = next((new for ending, new in change.items() if name.endswith(ending)), None)
            target.writestr(name, source.read(name) if content is None else content)
    return out


def refused_weights(path: Path) -> str:
    with pytest.raises(WeightsFileError) as raised:
        clip.load(path)
    assert str(path) in str(raised.value) and len(str(raised.value)) < 1500
    return str(raised.value)


def refused_checkpoint(path: Path) -> str:
    with pytest.raises(ValueError, match="cannot read the checkpoint") as raised:
        load_checkpoint(str(path))
    assert str(path) in str(raised.value) and len(str(raised.value)) < 1500
    return str(raised.value)


def test_both_copies_of_the_bounds_are_equal() -> None:
    assert Path(pickled_tensors.__file__).read_bytes() == Path(engine_copy.__file__).read_bytes()


def test_no_file_is_unpickled_without_bounds() -> None:
    """torch.load stands in two places, each with weights_only and after check_file; pickle.load nowhere."""
    calls = []
    for folder in ("clip", "dassl", "datasets", "trainers"):
        for path in (REPO / folder).rglob("*.py"):
            calls += [(path.name, line.strip()) for line in path.read_text().splitlines() if "torch.load(" in line or "pickle.load" in line]
    assert sorted(name for name, _ in calls) == ["archive.py", "safe_unpickle.py"]
    assert all("weights_only=True" in line for _, line in calls)


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("zipped", [True, False])
def test_tuples_in_tuples_are_refused(bomb: str, zipped: bool, tmp_path: Path, state: dict) -> None:
    path = tmp_path / "bomb.pt"
    if zipped:
        torch.save(state, tmp_path / "plain.pt")
        rewrite(tmp_path / "plain.pt", {"data.pkl": BOMBS[bomb]}, path)
    else:
        path.write_bytes(BOMBS[bomb])
    for message in (refused_weights(path), refused_checkpoint(path)):
        assert "its pickle holds tuples in tuples of more than 2,000 items" in message
    scripted = rewrite(write_openai_archive(state, tmp_path / "archive.pt"), {"data.pkl": BOMBS[bomb]}, tmp_path / "bomb2.pt")
    assert "tuples in tuples" in refused_weights(scripted)


def test_a_python_random_state_is_no_bomb(tmp_path: Path) -> None:
    import random

    torch.save({"state_dict": {}, "epoch": 1, "random": random.getstate()}, tmp_path / "a")
    assert load_checkpoint(str(tmp_path / "a"))["random"] == random.getstate()


def test_a_pickle_of_endless_keys_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled_tensors, "MAX_OPERATIONS", 1000)
    monkeypatch.setattr(engine_copy, "MAX_OPERATIONS", 1000)
    torch.save({f"key {i}": i for i in range(1000)}, tmp_path / "a")
    assert "more than 1,000 operations" in refused_weights(tmp_path / "a")
    assert "more than 1,000 operations" in refused_checkpoint(tmp_path / "a")


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "plain")
    bomb = rewrite(tmp_path / "plain", {"data/0": bytes(80_000_000)}, tmp_path / "bomb", zipfile.ZIP_DEFLATED)
    assert "would unpack to 8" in refused_weights(bomb)
    assert "would unpack to 8" in refused_checkpoint(bomb)


def test_an_archive_that_claims_terabytes_is_refused(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "plain")
    data = bytearray((tmp_path / "plain").read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry's line in the directory; its unpacked size stands 24 bytes on
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    (tmp_path / "claims").write_bytes(data)
    assert "would unpack to 4,2" in refused_weights(tmp_path / "claims")
    assert "would unpack to 4,2" in refused_checkpoint(tmp_path / "claims")


def test_a_tensor_that_repeats_one_number_to_terabytes_is_refused(tmp_path: Path, state: dict) -> None:
    huge = torch.zeros(1, dtype=torch.float16).expand(2**20, 2**20)
    torch.save(state | {"text_projection": huge}, tmp_path / "a.pt")
    assert "its arrays would take 2,199,0" in refused_weights(tmp_path / "a.pt")
    torch.save({"state_dict": {"w": huge}, "epoch": 1}, tmp_path / "b")
    assert "its arrays would take 2,199,0" in refused_checkpoint(tmp_path / "b")


def test_many_names_of_one_array_do_not_multiply_it(tmp_path: Path) -> None:
    shared = torch.zeros(2**22)
    torch.save({f"w{i}": shared for i in range(20)}, tmp_path / "a.pt")  # 16 MB in the file, 335 MB written out
    assert "its arrays would take 335,544,320 bytes" in refused_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["sparse", "meta", "quantised"])
def test_arrays_of_other_kinds_are_refused(kind: str, tmp_path: Path, state: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are deprecated
        odd = {
            "sparse": lambda: torch.eye(3).to_sparse(),
            "meta": lambda: torch.empty(3, device="meta"),
            "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        }[kind]()
        torch.save(state | {"odd": odd}, tmp_path / "a.pt")
    assert "odd is no plain array" in refused_weights(tmp_path / "a.pt") or kind == "quantised"


def test_integers_and_nan_in_the_place_of_weights_are_named(tmp_path: Path, state: dict) -> None:
    save_file(state | {"text_projection": state["text_projection"].to(torch.int8)}, tmp_path / "a.safetensors")
    assert "1 arrays that are no floating-point numbers, text_projection (torch.int8)" in refused_weights(tmp_path / "a.safetensors")
    save_file(state | {"visual.proj": state["visual.proj"] * float("nan")}, tmp_path / "b.safetensors")
    assert "numbers that are not finite in 1 arrays, visual.proj" in refused_weights(tmp_path / "b.safetensors")


SAFETENSORS = {
    "overlapping": {"a": [0, 4], "b": [2, 6]},
    "backwards": {"a": [4, 0]},
    "beyond the end": {"a": [0, 2**40]},
    "with a hole": {"a": [0, 2], "b": [4, 8]},
}


@pytest.mark.parametrize("what", SAFETENSORS)
def test_safetensors_with_offsets_that_do_not_fit(what: str, tmp_path: Path) -> None:
    header = {name: {"dtype": "F16", "shape": [2], "data_offsets": offsets} for name, offsets in SAFETENSORS[what].items()}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert "cannot be read as weights" in refused_weights(tmp_path / "a.safetensors")


def test_a_safetensors_header_that_claims_terabytes_or_huge_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**41) + b'{"a":' + bytes(100))
    assert "cannot be read as weights" in refused_weights(path)
    text = json.dumps({"a": {"dtype": "F16", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert "cannot be read as weights" in refused_weights(path)


def module_pickle(build: bytes) -> bytes:
    """A pickle of a module of a TorchScript archive whose attributes `build` puts on the stack."""
    return b"\x80\x02c__torch__\nM\n)\x81" + build + b"b."


def test_modules_that_stand_in_themselves_or_in_many_places_end(tmp_path: Path, state: dict) -> None:
    source = write_openai_archive(state, tmp_path / "archive.pt")
    itself = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."
    assert "modules, or names" in refused_weights(rewrite(source, {"data.pkl": itself}, tmp_path / "itself.pt"))
    many = b"\x80\x02c__torch__\nM\n)\x81q\x00"
    for i in range(1, 40):
        many += b"c__torch__\nM\n)\x81q" + bytes([i]) + b"}(X\x01\0\0\0ah" + bytes([i - 1]) + b"X\x01\0\0\0bh" + bytes([i - 1]) + b"ub"
    assert "modules, or names" in refused_weights(rewrite(source, {"data.pkl": many + b"."}, tmp_path / "many.pt"))


def test_what_fuzzing_found_in_archives(tmp_path: Path, state: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_openai_archive(state, tmp_path / "archive.pt")
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(tmp_path / "no_data.pt", "w") as out:
        for name in archive.namelist():
            out.writestr(name.replace("data.pkl", "DATA.PKL"), archive.read(name))
    assert "an archive without a data.pkl" in refused_weights(tmp_path / "no_data.pt")
    torch.save(state, tmp_path / "plain.pt")
    wrong_id = pickle.dumps({"a": 1}, 2)[:-1] + b"0K\x01Q."  # refers to storage 1, which is no description of one
    assert "cannot be read as weights" in refused_weights(rewrite(tmp_path / "plain.pt", {"data.pkl": wrong_id}, tmp_path / "id.pt"))

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(clip_archive.torch, "load", exhausted)
    assert "Cause: MemoryError" in refused_weights(tmp_path / "plain.pt")


def test_a_file_that_two_readers_take_for_two_things_is_refused(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "a")
    (tmp_path / "b").write_bytes(pickle.dumps({"state_dict": {}}) + (tmp_path / "a").read_bytes())
    assert "ends as an archive, but does not begin as one" in refused_weights(tmp_path / "b")
    assert "ends as an archive, but does not begin as one" in refused_checkpoint(tmp_path / "b")


ODD_CONFIGS = {
    "deep": (b'{"model_cfg":' * 50_000, "no open_clip configuration"),
    "a list": (b'{"model_cfg": [1]}', "no open_clip configuration"),
    "no object": (b'{"model_cfg": {"embed_dim": 32, "vision_cfg": "x", "text_cfg": {}}}', "vision_cfg is no object"),
    "zero heads": (b'{"model_cfg": {"embed_dim": 32, "vision_cfg": {"head_width": 0}, "text_cfg": {}}}', "vision_cfg.head_width is 0"),
    "endless layers": (b'{"model_cfg": {"embed_dim": 32, "vision_cfg": {"layers": 1e400}, "text_cfg": {}}}', "vision_cfg.layers is inf"),
    "no width": (b'{"model_cfg": {"embed_dim": 32, "vision_cfg": {"width": null}, "text_cfg": {}}}', "vision_cfg.width is None"),
    "a size of text": (
        b'{"model_cfg": {"embed_dim": 32, "vision_cfg": {"image_size": "\\ud800"}, "text_cfg": {}}}',
        "image_size is '\\ud800'",
    ),
    "heads that do not divide": (b'{"model_cfg": {"embed_dim": 32, "vision_cfg": {}, "text_cfg": {"heads": 7}}}', "text_cfg.heads is 7"),
    "too large": (b" " * (2**20 + 1), "1,048,577 bytes, of at most 1,048,576"),
}


@pytest.mark.parametrize("what", ODD_CONFIGS)
def test_a_configuration_beside_the_weights(what: str, tmp_path: Path, state: dict) -> None:
    content, message = ODD_CONFIGS[what]
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "open_clip_config.json").write_bytes(content)
    with pytest.raises(ValueError) as raised:
        clip.load(tmp_path / "a.safetensors")
    assert message in str(raised.value) and "open_clip_config.json" in str(raised.value)
    str(raised.value).encode()  # can be printed


ODD_CHECKPOINTS = {
    "state_dict is a number": ({"state_dict": 3, "epoch": 1}, "its state_dict is no dictionary"),
    "names are numbers": ({"state_dict": {1: torch.ones(1)}, "epoch": 1}, "its state_dict is no dictionary"),
    "epoch is text": ({"state_dict": {}, "epoch": "3"}, "its epoch is '3', not a number"),
    "epoch is negative": ({"state_dict": {}, "epoch": -1}, "its epoch is -1, not a number"),
    "epoch is huge": ({"state_dict": {}, "epoch": 10**12}, "its epoch is 1000000000000, not a number"),
    "a list": ([1], "holds a list, not a checkpoint"),
}


@pytest.mark.parametrize("what", ODD_CHECKPOINTS)
def test_entries_of_other_kinds(what: str, tmp_path: Path) -> None:
    content, message = ODD_CHECKPOINTS[what]
    torch.save(content, tmp_path / "a")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(str(tmp_path / "a"))


def test_an_optimisers_state_of_any_kind_is_told() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for odd in (
        {},
        {"state": 3, "param_groups": [{"params": [0, 1]}]},
        {"state": {}, "param_groups": 3},
        {"param_groups": [{}], "state": {}},
    ):
        with pytest.raises(ValueError, match="the optimiser's state in a.pt is of other parameters"):
            restore({"state_dict": model.state_dict(), "epoch": 1, "optimizer": odd}, "a.pt", model, optimizer)
    with pytest.raises(ValueError, match="a.pt holds no state_dict"):
        restore({"epoch": 1}, "a.pt", model)


def test_lists_as_deep_as_the_stack_is_are_walked(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "plain")
    deep = b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * 100_000 + b"a" * 99_999 + b"s."
    path = rewrite(tmp_path / "plain", {"data.pkl": deep}, tmp_path / "deep")
    assert list(load_checkpoint(str(path))) == ["a"]


def test_reading_leaves_no_file_behind(tmp_path: Path, state: dict) -> None:
    write_openai_archive(state, tmp_path / "archive.pt")
    read_weights(tmp_path / "archive.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["archive.pt"]
