"""The readers that are fuzzed: real files to start from, how they are mutated, what reads them, and how reading may fail.

A reader may raise the errors that its docstring names, with a message that names the file. Anything else is a finding: another exception, a file that is
written or read elsewhere, a program that is started, memory or seconds beyond the bounds, or a result that breaks the target's own check.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import clip
from clip.config import CLIPConfig
from clip.model import CLIP
from dassl.utils import load_checkpoint, save_checkpoint
from dassl.utils.checkpoints import restore
from datasets.base_new import select_classes
from datasets.fewshot import sample_split
from datasets.folder import read_class_names as read_renamed
from datasets.folder_lists import read_list
from datasets.imagenet import read_class_names
from datasets.make_split import read_listed
from datasets.splits import PARTS, Row, read_lines, read_split_file
from tests.hostile.fuzz_mutations import Mutation, mutate_bytes, mutate_json, mutate_safetensors, mutate_table, mutate_zip
from tests.weights_files import write_openai_archive

SMALL = CLIPConfig(32, 32, 1, 64, 16, 16, 60, 64, 1)
SMALL_RESNET = CLIPConfig(32, 32, (1, 1, 1, 1), 16, None, 16, 60, 64, 1)


@dataclass(frozen=True)
class Seed:
    """A real file, and the mutations that fit its format; `read` reads a file of its kind."""

    name: str
    content: bytes
    mutations: Sequence[Mutation]
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A group of readers: `make_seeds(folder)` writes the files to start from, `documented` are the errors that the readers name."""

    make_seeds: Callable[[Path], list[Seed]]
    documented: tuple[type[Exception], ...]


def mutated(seed: Seed, rng: random.Random) -> bytes:
    """The seed's content after one mutation that fits its format, now and then after more."""
    content = seed.content
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(seed.mutations)(content, rng)
    return content


def _load_weights(path: Path) -> None:
    model = clip.load(path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters()), "parameters that are not finite float32"


def _weights_seeds(folder: Path) -> list[Seed]:
    torch.manual_seed(0)
    state = {k: v.half().float() for k, v in CLIP(SMALL).state_dict().items()}
    resnet = {k: v.half().float() if v.is_floating_point() else v for k, v in CLIP(SMALL_RESNET).state_dict().items()}
    save_file({k: v.half() for k, v in state.items()}, folder / "a.safetensors", {"activation": "gelu"})
    torch.save({"state_dict": {f"module.{k}": v.half() for k, v in state.items()}, "epoch": 3}, folder / "zipped.pt")
    torch.save({k: v.half() for k, v in state.items()}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    write_openai_archive(state, folder / "archive.pt")
    write_openai_archive(resnet, folder / "resnet.pt")
    mutations = {
        ".safetensors": [mutate_safetensors, mutate_safetensors, mutate_bytes],
        ".pt": [mutate_zip, mutate_zip, mutate_zip, mutate_bytes],
    }
    seeds = [Seed(p.name, p.read_bytes(), mutations[p.suffix], _load_weights) for p in sorted(folder.iterdir())]
    model_cfg = {
        "embed_dim": 32,
        "vision_cfg": {"layers": 1, "width": 64},
        "text_cfg": {"width": 64, "heads": 1, "layers": 1, "vocab_size": 49408},
    }
    config = json.dumps({"model_cfg": model_cfg}).encode()
    weights = (folder / "a.safetensors").read_bytes()

    def read_beside(path: Path) -> None:
        path.rename(path.with_name("open_clip_config.json"))
        path.write_bytes(weights)
        _load_weights(path)

    return [*seeds, Seed("open_clip_config.json", config, [mutate_json, mutate_json, mutate_bytes], read_beside)]


class ForeignScheduler:
    """Pickled whole, as the published Dassl pickles its scheduler."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.param_groups, self.last_epoch = optimizer.param_groups, 3


def _load_checkpoint(path: Path) -> None:
    checkpoint = load_checkpoint(str(path))
    assert isinstance(checkpoint, dict), "no dictionary"
    model = nn.Linear(6, 4)
    restore(checkpoint, str(path), model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def _checkpoint_seeds(folder: Path) -> list[Seed]:
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    vars(optimizer).pop("step", None)  # PyTorch's counter is a local function, which cannot be pickled
    state = {"state_dict": model.state_dict(), "epoch": 3, "optimizer": optimizer.state_dict(), "val_result": 0.5}
    random_states = {"python": random.Random(1).getstate(), "torch": torch.get_rng_state()}
    save_checkpoint({**state, "scheduler": {"last_epoch": 3, "_last_lr": [0.1]}, "random": random_states}, str(folder), model_name="ours")
    (folder / "checkpoint").unlink()
    torch.save({**state, "scheduler": {"successor": ForeignScheduler(optimizer), "last_epoch": 3}}, folder / "published")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    mutations = [mutate_zip, mutate_zip, mutate_zip, mutate_bytes]
    return [Seed(p.name, p.read_bytes(), mutations, _load_checkpoint) for p in sorted(folder.iterdir())]


def _use_split(path: Path) -> None:
    split = read_split_file(path, "EuroSAT")
    split.check_classes()
    sample = sample_split(split, 2, 1, path.parent / "split_fewshot")
    base = select_classes(sample, "base")
    for row in [row for part in PARTS for row in getattr(split, part)]:
        assert not row.path.startswith("/") and ".." not in row.path.replace("\\", "/").split("/"), "a path that leaves the folder"
    assert sorted({row.label for row in base.train}) == list(range((len({row.label for row in split.train}) + 1) // 2)), "labels with gaps"
    json.dumps([row for part in PARTS for row in getattr(split, part)], ensure_ascii=False).encode()


def _split_seeds(folder: Path) -> list[Seed]:
    rows = [[f"{name}/{name}_{i}.jpg", label, name] for label, name in enumerate(("River", "Sea or Lake", "Forêt")) for i in range(4)]
    content = json.dumps({"train": rows, "val": rows[::2], "test": rows[::3]}).encode()
    return [Seed("split_zhou_EuroSAT.json", content, [mutate_json, mutate_json, mutate_bytes], _use_split)]


def _list_seeds(folder: Path) -> list[Seed]:
    rows = [(f"{name}/{i}.jpg", name, part) for name in ("emu", "wren") for i, part in enumerate(("train", "val", "test"))]
    table = "\n".join(["path,class,split", *(",".join(row) for row in rows)]).encode()
    objects = json.dumps([dict(zip(("path", "class", "split"), row, strict=True)) for row in rows]).encode()
    names = b"n01440764 tench\nn01443537 goldfish, Carassius auratus\nn01484850 great white shark\n"
    text = [mutate_table, mutate_table, mutate_bytes]

    def use_list(path: Path) -> None:
        listing = read_list(path, "Folder")
        assert all(p.path[0] != "/" and ".." not in p.path.split("/") for p in listing.pictures), "a path that leaves the folder"
        "".join(p.path + p.class_name for p in listing.pictures).encode()

    def use_names(path: Path) -> None:
        "".join(f"{wnid} {name}" for wnid, name in read_class_names(path, "ImageNet").items()).encode()

    def use_aircraft(path: Path) -> None:
        parse = lambda line: Row(f"{line.split(' ', 1)[0]}.jpg", 0, line.split(" ", 1)[1])  # noqa: E731
        rows = read_listed(read_lines(path, "FGVCAircraft"), parse, f"FGVCAircraft: {path}")
        assert all(row.path[0] != "/" and ".." not in row.path.split("/") for row in rows), "a path that leaves the folder"

    return [
        Seed("list.csv", table, text, use_list),
        Seed("list.tsv", table.replace(b",", b"\t"), text, use_list),
        Seed("list.txt", table.replace(b",", b";"), text, use_list),
        Seed("list.json", objects, [mutate_json, mutate_json, mutate_bytes], use_list),
        Seed("classnames.txt", names, text, use_names),
        Seed("images_variant_train.txt", b"0056978 707-320\n0034309 727-200\n", text, use_aircraft),
        Seed(
            "class_names.json",
            b'{"emu": "large bird"}',
            [mutate_json, mutate_bytes],
            lambda path: read_renamed(path, ["emu", "wren"], "Folder"),
        ),
    ]


TARGETS = {
    "weights": Target(_weights_seeds, (ValueError, TypeError, ArithmeticError, AttributeError)),
    "checkpoint": Target(_checkpoint_seeds, (ValueError,)),
    "split": Target(_split_seeds, (ValueError,)),
    "lists": Target(_list_seeds, (ValueError,)),
}


def try_one(target: Target, seed: Seed, content: bytes, folder: Path) -> str:
    """Let a seed's reader read `content` as a file in `folder`: "read" or "refused".

    Raises:
        Exception: what the reader raised, if it is none of the documented errors.
        AssertionError: the reader's message does not name the file, or what it gave breaks the target's check.
    """
    path = folder / seed.name.replace("open_clip_config.json", "beside.safetensors")
    path.write_bytes(content)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            seed.read(path)
    except target.documented as error:
        if type(error) in (ValueError, *target.documented) or isinstance(error, target.documented[:-1]):
            assert str(folder) in str(error), f"the message does not name the file: {error}"
            assert len(str(error)) < 5000, f"a message of {len(str(error)):,} characters"
            str(error).encode()
            return "refused"
        raise
    return "read"
