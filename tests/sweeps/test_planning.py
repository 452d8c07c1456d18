"""Which runs a protocol has, where they stand, and what of them is finished, as the launchers say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.command import build_parser, choice_of, make_plan
from sweeps.plan import Run
from sweeps.protocols import ALL_ELEVEN, IMAGENET_VARIANTS, PROTOCOLS, TRANSFER_TARGETS, Choice, SweepError, launcher_folders, launches
from tests.datasets.conftest import lay_out_split
from tests.launchers import METHODS, refused, run, succeeded
from tests.sweeps.stand_in import StandIn

FIVE = "ZeroshotCLIP,CoOp,CoCoOp,MaPLe,MPL"


def planned(tmp_path: Path, words: str) -> list[Run]:
    """The runs of a command line in ``tmp_path``."""
    return make_plan(build_parser().parse_args(words.split()), tmp_path / "data", tmp_path / "output").runs


def folders(runs: list[Run], tmp_path: Path) -> list[str]:
    return [str(r.run_dir.relative_to(tmp_path / "output")) for r in runs]


def test_the_papers_datasets() -> None:
    assert (len(set(ALL_ELEVEN)), len(set(TRANSFER_TARGETS)), len(set(IMAGENET_VARIANTS))) == (11, 10, 4)
    assert "imagenet" not in TRANSFER_TARGETS
    assert dict(launcher_folders()) == {v: k for k, v in METHODS.items()} | {"ZeroshotCLIP": "zsclip", "ZeroshotCLIP2": "zsclip"}


def test_base_to_new_of_five_methods(tmp_path: Path) -> None:
    assert {launch.dataset for launch in launches("base2new", Choice(("MPL",)))} == set(ALL_ELEVEN)
    runs = planned(tmp_path, f"base2new --methods {FIVE} --datasets imagenet,eurosat --seeds 1,2")
    parts = Counter((r.launch.method, r.launch.part) for r in runs)
    assert parts == {(m, part): 2 if m == "ZeroshotCLIP" else 4 for m in FIVE.split(",") for part in ("base", "new")}
    assert len({r.run_dir for r in runs}) == len(runs)
    where = folders(runs, tmp_path)
    below = "eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed2"
    assert f"base2new/train_base/{below}" in where
    tested = next(r for r in runs if r.run_dir.match(f"test_new/{below}"))
    assert tested.train_dir == tmp_path / f"output/base2new/train_base/{below}"
    assert "ZeroshotCLIP/vit_b16/eurosat/new" in where
    assert all(r.state == "missing" for r in runs)


def test_transfer_trains_once_and_tests_where_the_paper_does(tmp_path: Path) -> None:
    runs = planned(tmp_path, "xd,dg --methods MPL --seeds 1")
    source = tmp_path / "output/crossdataset/imagenet/MPL/vit_b4_c1_add2_rm1_cross_datasets_16shots/seed1"
    assert [r.run_dir for r in runs if r.train_dir is None] == [source]
    assert runs[0].run_dir == source
    assert [r.launch.dataset for r in runs[1:]] == [*TRANSFER_TARGETS, *IMAGENET_VARIANTS]
    assert {r.train_dir for r in runs[1:]} == {source}


def test_transfer_from_shapes(tmp_path: Path) -> None:
    runs = planned(tmp_path, "xd --methods MPL --datasets shapes --seeds 3 --shots 2")
    expected = ["crossdataset/shapes/MPL/tiny_shapes_2shots/seed3", "crossdataset/evaluation/shapes/MPL/tiny_shapes_2shots/seed3"]
    assert folders(runs, tmp_path) == expected


def test_few_shot_takes_k_1_to_16_and_zero_shot_once(tmp_path: Path) -> None:
    runs = planned(tmp_path, "fewshot --methods CoOp,ZeroshotCLIP --datasets dtd --seeds 1")
    each = [("vit_b16_ep50", 1), ("vit_b16_ep100", 2), ("vit_b16_ep100", 4), ("vit_b16", 8), ("vit_b16", 16)]
    assert folders(runs, tmp_path) == [f"fewshot/dtd/shots_{k}/CoOp/{cfg}/seed1" for cfg, k in each] + ["ZeroshotCLIP/vit_b16/dtd"]
    assert len(planned(tmp_path, "fewshot --methods CoOp --datasets dtd --seeds 1 --shots 2,4")) == 2


def test_settings_go_to_whom_they_concern(tmp_path: Path) -> None:
    words = "base2new --methods ZeroshotCLIP,MPL,CoOp --datasets eurosat --seeds 1 --set OPTIM.MAX_EPOCH=3 TRAINER.MPL.N_ADD_OP=1 INPUT.SIZE=(224,224)"
    calls = {r.launch.script: r.launch.arguments for r in planned(tmp_path, words)}
    size = ("INPUT.SIZE", "(224,224)")
    assert calls["mpl/base2new_train.sh"] == ("eurosat", "1", "3", "TRAINER.MPL.N_ADD_OP", "1", *size)
    assert calls["coop/base2new_test.sh"] == ("eurosat", "1", "3", *size)
    assert calls["zsclip/base2new_test.sh"] == ("eurosat", "1", *size)  # so that it stays one run with that of other epochs


def test_a_run_made_by_hand_counts(stand_in: StandIn, tmp_path: Path) -> None:
    succeeded(run(tmp_path, "mpl/base2new_train eurosat 1", PYTHON=str(stand_in.path)))
    states = {r.title: r.state for r in planned(tmp_path, "base2new --datasets eurosat --seeds 1,2")}
    assert states == {
        "MPL eurosat base K=16 seed 1": "finished",
        "MPL eurosat new K=16 seed 1": "missing",
        "MPL eurosat base K=16 seed 2": "missing",
        "MPL eurosat new K=16 seed 2": "missing",
    }
    succeeded(run(tmp_path, "mpl/base2new_test eurosat 1", PYTHON=str(stand_in.path)))
    assert [r.state for r in planned(tmp_path, "base2new --datasets eurosat --seeds 1")] == ["finished", "finished"]
    succeeded(run(tmp_path, "mpl/base2new_train eurosat 1 --force", PYTHON=str(stand_in.path)))
    assert [r.state for r in planned(tmp_path, "base2new --datasets eurosat --seeds 1")] == ["finished", "missing"]  # of the older training
    other = planned(tmp_path, "base2new --datasets eurosat --seeds 1 --set OPTIM.LR=0.1")
    assert other[0].state == "refused"
    assert "OPTIM.LR 0.1 is asked for" in other[0].why


def test_an_unfinished_training_makes_its_test_missing(stand_in: StandIn, tmp_path: Path) -> None:
    for protocol in ("train", "test"):
        succeeded(run(tmp_path, f"mpl/base2new_{protocol} eurosat 1", PYTHON=str(stand_in.path)))
    result_path = planned(tmp_path, "base2new --datasets eurosat --seeds 1")[0].run_dir / "result.json"
    result_path.write_text(json.dumps({"finished": False}))
    assert [r.state for r in planned(tmp_path, "base2new --datasets eurosat --seeds 1")] == ["unfinished", "missing"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("base2nw", ["unknown protocol 'base2nw'; nearest: base2new", "fewshot"]),
        ("xd --methods MLP,CoOp", ["unknown method 'MLP'; nearest: MPL", "PromptSRC"]),
        ("xd --methods mpl --datasets eurosta", ["unknown method 'mpl'; nearest: MPL", "unknown dataset 'eurosta'; nearest: eurosat"]),
        ("xd --source imagenot", ["unknown dataset 'imagenot'; nearest: imagenet"]),
        ("fewshot --datasets imagenet_a", ["imagenet_a cannot be trained on", "xd, dg"]),
        ("base2new --set LR", ["--set takes KEY=VALUE", "received 'LR'"]),
        ("base2new --set OPTIM.LR=0.1 OPTIM.LR=0.2", ["--set has OPTIM.LR more than once"]),
        ("base2new --set SEED=4", ["MPL imagenet base K=16 seed 1 cannot be run", "give it as the argument SEED"]),
        ("base2new --set TRAINER.COOP.N_CTX=4", ["TRAINER.COOP.N_CTX would change nothing", "no setting of MPL"]),
        ("base2new --cfg vit_b4", ["there is no config vit_b4 of MPL", "vit_b4_c1_add2_rm1"]),
    ],
)
def test_what_cannot_be_planned_is_told(words: str, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(SweepError) as raised:
        planned(tmp_path, words)
    for part in parts:
        assert part in str(raised.value)


def test_words_that_are_no_numbers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words, part in (("--seeds 1,-2", "'1,-2'"), ("--shots 0", "numbers of 1 or more"), ("--seeds 1,,2", "received '1,,2'")):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["base2new", *words.split()])
        assert part in capsys.readouterr().err


def test_all_methods_are_those_of_the_launchers() -> None:
    choice = choice_of(build_parser().parse_args(["base2new", "--methods", "all"]))
    assert set(choice.methods) == {*METHODS.values(), "ZeroshotCLIP"}
    assert set(PROTOCOLS) == {"base2new", "xd", "dg", "fewshot"}


def test_a_plan_says_what_is_not_here_and_how_to_get_it_and_see_it(reproduce: Callable, stand_in: StandIn, tmp_path: Path) -> None:
    lay_out_split(tmp_path / "data", "EuroSAT")
    status, out, _ = reproduce("base2new --datasets eurosat,dtd,sun397,shapes --seeds 1 --plan")
    lines = out.splitlines()
    assert status == 0
    assert lines[10:15] == [
        f"Not in {tmp_path}/data, or not all of it (2): dtd, sun397",
        f"  to get them: python tools/prepare.py dtd sun397 --root {tmp_path}/data",
        "CLIP weights not on this machine: ViT-B/16",
        "  to get them: python tools/prepare.py --weights ViT-B/16",
        "8 runs: 8 to run",
    ]
    assert lines[-1] == f"Tables of what is finished: python tools/results.py {tmp_path}/output"
    told, there = [reproduce(f"base2new --datasets {name} --cfg tiny_shapes --seeds 1 --plan")[1] for name in ("dtd", "eurosat")]
    assert "(1): dtd" in told
    assert "to get them" not in there
    assert "weights" not in told


def test_the_papers_own_set(stand_in: StandIn, tmp_path: Path) -> None:
    python = {"PYTHON": str(stand_in.path)}
    out = succeeded(run(tmp_path, "mpl/reproduce --plan --datasets eurosat --seeds 1", **python))
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    where = [line[-1] for line in lines[1 : lines.index([""])]]
    assert len(where) == 2 + 4 * 2 + 2 + 4 * 2  # zero-shot once and four methods: base and new; source and target
    assert where[:2] == ["ZeroshotCLIP/vit_b16/eurosat/base", "ZeroshotCLIP/vit_b16/eurosat/new"]
    assert where[-1] == "crossdataset/evaluation/eurosat/MPL/vit_b4_c1_add2_rm1_cross_datasets_16shots/seed1"
    assert f"{len(where)} runs: {len(where)} to run" in out
    refused(run(tmp_path, "mpl/reproduce --output runs", **python), "OUTPUT=FOLDER bash scripts/mpl/reproduce.sh")
    assert stand_in.folders() == []


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--datasets eurosat --seeds=1 --gpus none", "{output} --protocols base2new,xd --datasets eurosat --seeds 1 --methods {five}"),
        ("--datasets dtd,eurosat --seeds 1 --methods all", "{output} --protocols base2new,xd --datasets dtd,eurosat --seeds 1"),
        ("--gpus none", "{output} --protocols base2new,xd --datasets all --seeds 1,2,3 --methods {five}"),
        (
            "--datasets dtd --seeds 1 --methods MPL --grid OPTIM.LR=1,2",
            "{output}/grid --protocols base2new,xd --datasets dtd --seeds 1 --methods MPL --pivot",
        ),
    ],
)
def test_the_papers_own_set_shows_what_was_asked_for(words: str, shown: str, tmp_path: Path) -> None:
    """So that what is missing is marked: with a Python that makes no runs and prints how it is called."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$*"\n')
    python.chmod(0o755)
    lines = succeeded(run(tmp_path, f"mpl/reproduce {words}", PYTHON=str(python))).splitlines()
    expected = shown.format(output=tmp_path / "output", five=FIVE)
    assert lines[1].endswith(f"tools/results.py {expected}")
    assert f"tools/results.py {expected} --format html --out {tmp_path}/output/results.html" in lines[2]
