"""The launchers: their commands, what they refuse, what each calls, and the Python that they take; test_script_runs.py has whole runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import trainers  # noqa: F401, registers the methods
from dassl.engine import TRAINER_REGISTRY
from tests.launchers import METHODS, PUBLISHED, REPO, calls_of_stand_in, environment, finished_run, refused, run, succeeded

SCRIPTS = sorted((REPO / "scripts").rglob("*.sh"))
PROTOCOLS = ("base2new", "base2new_train", "base2new_test", "xd_train", "xd_test", "dg_test", "few_shot")
LAUNCHERS = [f"{method}/{protocol}" for method in METHODS for protocol in PROTOCOLS] + ["coop/main", "coop/eval"]
LAUNCHERS += [f"zsclip/{protocol}" for protocol in ("zeroshot", *PROTOCOLS[:-1])]
VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")


# What they are


def test_every_script_parses_and_needs_no_newer_bash() -> None:
    for path in SCRIPTS:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path
        newer = re.search(r"declare -A|local -[An]|mapfile|readarray|\$\{\w+(,,|\^\^)|&>>|\|&|\[-1\]", path.read_text(encoding="utf-8"))
        assert not newer, f"{path}: bash 3.2 has no {newer.group()}"
    # launchers, settings.sh with zsclip's, protocols.sh, shared files; setup.sh, test.sh, test_matrix.sh and mpl/reproduce.sh
    assert len(SCRIPTS) == len(LAUNCHERS) + len(METHODS) + 1 + 2 + 6 + 4


def test_the_launchers_are_there_and_say_their_own_command() -> None:
    for name in LAUNCHERS:
        lines = (REPO / "scripts" / f"{name}.sh").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "#!/usr/bin/env bash"
        assert re.fullmatch(rf"# .+\S:  bash scripts/{name}\.sh [A-Z\[].*\[KEY VALUE …\] \[--force\]", lines[1]), lines[1]
        assert lines[2:] == ['. "$(dirname "$0")/../launch.sh"'], name
    assert len(LAUNCHERS) == 58 + len(PROTOCOLS) * (len(METHODS) - len(PUBLISHED))


@pytest.mark.parametrize("folder", METHODS)
def test_settings_name_the_trainer_and_its_checkpoints(folder: str) -> None:
    text = (REPO / f"scripts/{folder}/settings.sh").read_text(encoding="utf-8")
    assert re.search(r"^TRAINER=(\w+)", text, re.MULTILINE).group(1) == METHODS[folder]
    assert re.search(r"^MODEL=(\w+)", text, re.MULTILINE).group(1) == TRAINER_REGISTRY.get(METHODS[folder]).checkpoint_name


# What they refuse


@pytest.mark.parametrize("name", ["mpl/base2new", "zsclip/zeroshot", "mpl/reproduce", "setup", "test", "test_matrix"])
@pytest.mark.parametrize("shell", [shell for shell in ("dash", "ksh", "busybox sh") if shutil.which(shell.split()[0])])
def test_another_shell_than_bash_is_told(name: str, shell: str, tmp_path: Path) -> None:
    call = [*shell.split(), f"scripts/{name}.sh", "shapes", "1"]
    ran = subprocess.run(call, cwd=REPO, env=environment(tmp_path), capture_output=True, text=True)
    refused(ran, f"run it with bash: bash scripts/{name}.sh shapes 1\n")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", LAUNCHERS)
def test_help_and_wrong_numbers_of_words_show_the_command(name: str, tmp_path: Path) -> None:
    assert succeeded(run(tmp_path, f"{name} --help")).startswith(f"usage: bash scripts/{name}.sh ")
    refused(run(tmp_path, f"{name} a b c d e f g"), f"expected bash scripts/{name}.sh ", "received a b c")
    if name != "zsclip/dg_test":
        refused(run(tmp_path, name), f"expected bash scripts/{name}.sh ", "received nothing")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("command", "more", "parts"),
    [
        ("mpl/base2new shape 1", {}, ["unknown dataset 'shape'", "shapes", "eurosat"]),
        ("mpl/base2new shapes one", {}, ["SEED", "received 'one'", "bash scripts/mpl/base2new.sh"]),
        ("mpl/base2new shapes -1", {}, ["unknown option -1"]),
        ("mpl/base2new shapes 1 0", {}, ["EPOCHS must be a number of 1 or more", "received '0'"]),
        ("mpl/base2new shapes 01", {}, ["SEED must be a number of 0 or more, without leading zeros", "received '01'"]),
        ("mpl/base2new shapes 1 05", {}, ["EPOCHS must be", "without leading zeros", "received '05'"]),
        ("mpl/xd_train shapes 1", {"SHOTS": "016"}, ["SHOTS must be", "without leading zeros", "received '016'"]),
        ("mpl/few_shot shapes 1 04", {}, ["SHOTS must be", "without leading zeros", "received '04'"]),
        ("coop/main shapes tiny_shapes end 04 16 False", {}, ["NCTX must be", "without leading zeros", "received '04'"]),
        ("mpl/base2new shapes 1 --fource", {}, ["unknown option --fource"]),
        ("mpl/base2new shapes 1 OPTIM.LR 0.1 DATASET.NUM_SHOTS 4", {}, ["DATASET.NUM_SHOTS", "SHOTS=4 bash scripts/mpl/base2new.sh"]),
        ("mpl/few_shot shapes 1 DATASET.NUM_SHOTS 4", {}, ["DATASET.NUM_SHOTS", "the argument SHOTS"]),
        ("coop/main shapes tiny_shapes end 16 16 False DATASET.NUM_SHOTS 4", {}, ["DATASET.NUM_SHOTS", "the argument SHOTS"]),
        ("zsclip/zeroshot shapes tiny_shapes DATASET.SUBSAMPLE_CLASSES new", {}, ["SUBSAMPLE_CLASSES", "the argument all, base or new"]),
        ("mpl/base2new_train shapes 1 DATASET.SUBSAMPLE_CLASSES all", {}, ["SUBSAMPLE_CLASSES", "base2new"]),
        ("mpl/base2new shapes 1 DATASET.ROOT /data", {}, ["DATASET.ROOT", "DATA=/data bash scripts/mpl/base2new.sh"]),
        ("mpl/base2new shapes 1 DATASET.NAME EuroSAT", {}, ["DATASET.NAME", "the argument DATASET"]),
        ("mpl/xd_train shapes 1 OUTPUT_DIR /runs", {}, ["OUTPUT_DIR", "OUTPUT=/runs bash scripts/mpl/xd_train.sh"]),
        ("mpl/base2new shapes 1 OPTIM.MAX_EPOCH 2", {}, ["OPTIM.MAX_EPOCH", "the argument EPOCHS"]),
        ("mpl/base2new shapes 1 TRAINER.NAME MaPLe", {}, ["TRAINER.NAME", "scripts/<method>"]),
        ("zsclip/base2new shapes TRAINER.NAME ZeroshotCLIP2", {}, ["TRAINER.NAME", "TRAINER=ZeroshotCLIP2"]),
        ("mpl/base2new shapes 1 OPTIM.LR 0.1 SEED 2", {}, ["SEED", "the argument SEED"]),
        ("coop/main shapes tiny_shapes end 16 16 False TRAINER.COOP.N_CTX 4", {}, ["TRAINER.COOP.N_CTX", "NCTX"]),
        ("coop/eval shapes tiny_shapes TRAINER.COOP.CSC True", {}, ["TRAINER.COOP.CSC", "CSC"]),
        ("mpl/base2new shapes 1 OPTIM.LR", {}, ["pairs of KEY VALUE", "received OPTIM.LR"]),
        (
            "mpl/base2new folder 1 DATASET.FOLDER_PATH brids",
            {},
            ["DATASET.FOLDER_PATH is 'brids', but", "data/brids is no folder", "there: none"],
        ),
        ("mpl/base2new shapes 1", {"CFG": "vit_b4"}, ["no config vit_b4 of MPL", "vit_b4_c1_add2_rm1", "tiny_shapes"]),
        ("mpl/base2new shapes 1", {"SHOTS": "many"}, ["SHOTS", "received 'many'"]),
        ("mpl/few_shot shapes 1 0", {}, ["SHOTS must be a number of 1 or more"]),
        ("mpl/xd_test shapes 1", {"SOURCE": "imagenot"}, ["unknown dataset 'imagenot'"]),
        ("coop/main shapes rn51 end 16 16 False", {}, ["no config rn51 of CoOp", "rn50_ep100_ctxv1"]),
        ("coop/main shapes tiny_shapes last 16 16 False", {}, ["CTP must be end, middle or front", "received 'last'"]),
        ("coop/main shapes tiny_shapes end 16 16 false", {}, ["CSC must be True or False", "received 'false'"]),
        ("coop/main shapes tiny_shapes end 0 16 False", {}, ["NCTX must be a number of 1 or more"]),
        ("zsclip/zeroshot shapes tiny_shapes old", {}, ["all, base or new", "received 'old'"]),
        ("zsclip/zeroshot shapes rn51", {}, ["no config rn51 of ZeroshotCLIP", "vit_l14_336"]),
        ("zsclip/base2new shapes", {"TRAINER": "MPL"}, ["ZeroshotCLIP or ZeroshotCLIP2", "received 'MPL'"]),
        ("mpl/base2new shapes 1", {"TRAINER": "CoOp"}, ["TRAINER=CoOp", "of scripts/mpl is MPL", "run bash scripts/coop/base2new.sh"]),
        ("coop/xd_test dtd 1", {"TRAINER": "ZeroshotCLIP2"}, ["of scripts/coop is CoOp", "run bash scripts/zsclip/xd_test.sh"]),
        ("coop/eval dtd rn50", {"TRAINER": "MPL"}, ["TRAINER=MPL", "scripts/<method>/eval.sh"]),
        ("vpt/dg_test 1", {"TRAINER": "TaskRes"}, ["TRAINER=TaskRes", "scripts/<method>/dg_test.sh", "unset TRAINER"]),
        ("mpl/base2new_test shapes 1 3", {}, ["no finished training in", "run first: bash scripts/mpl/base2new_train.sh shapes 1 3"]),
        ("maple/xd_test eurosat 2", {}, ["no finished training in", "run first: bash scripts/maple/xd_train.sh imagenet 2"]),
        ("vpt/dg_test 2", {}, ["run first: bash scripts/vpt/xd_train.sh imagenet 2; or", "SOURCE=NAME bash scripts/vpt/dg_test.sh …"]),
        (
            "coop/eval imagenetv2 rn50",
            {},
            ["no finished training in", "run first: bash scripts/coop/main.sh imagenet rn50 end 16 16 False"],
        ),
    ],
)
def test_what_cannot_work_is_told_before_anything_runs(command: str, more: dict[str, str], parts: list[str], tmp_path: Path) -> None:
    refused(run(tmp_path, command, **more), *parts)
    assert not (tmp_path / "output").exists()


def test_a_mistyped_folder_of_ones_own_is_told_although_another_ones_run_stands_in_its_place(calls: Callable, tmp_path: Path) -> None:
    for name in ("birds", "my fishes"):
        (tmp_path / "data" / name).mkdir(parents=True)
    calls("mpl/base2new_train folder 1 DATASET.FOLDER_PATH birds")
    finished_run(tmp_path / "output/base2new/train_base/folder/shots_16/MPL/vit_b4_c1_add2_rm1/seed1", "MultiModalPromptLearner", 5)
    refused(
        run(tmp_path, "mpl/base2new_train folder 1 DATASET.FOLDER_PATH brids"),
        f"DATASET.FOLDER_PATH is 'brids', but {tmp_path}/data/brids is no folder; it takes a folder in {tmp_path}/data (there: birds, my fishes)",
    )
    refused(run(tmp_path, "mpl/base2new_train folder 1 DATASET.FOLDER_PATH ."), "holds a run with", "DATASET.FOLDER_PATH birds")


def test_missing_data_and_weights_are_told_within_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    ran = run(tmp_path, "mpl/base2new_train eurosat 1")
    assert time.monotonic() - start < 60  # some seconds on a quiet machine
    refused(
        ran, str(tmp_path / "data/eurosat"), "split_zhou_EuroSAT.json", "The CLIP weights ViT-B/16", "bash scripts/mpl/base2new.sh shapes 1"
    )


# What they call: a stand-in for Python writes down the command lines for data and weights that are not here


@pytest.fixture
def calls(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a launcher; gives the command line of each call of train.py."""
    return calls_of_stand_in(tmp_path)


def line(folder: Path, trainer: str, cfg: str, dataset: str, seed: int, where: str, rest: str) -> str:
    """The command line of train.py for these."""
    files = f"--dataset-config-file configs/datasets/{dataset}.yaml --config-file configs/trainers/{trainer.rstrip('2')}/{cfg}.yaml"
    return f"train.py --root {folder}/data --seed {seed} --trainer {trainer} {files} --output-dir {folder}/output/{where} {rest}".rstrip()


def test_base_to_new_calls(calls: Callable, tmp_path: Path) -> None:
    where = "base2new/train_base/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
    cfg = ("MPL", "vit_b4_c1_add2_rm1", "eurosat", 3)
    base = line(tmp_path, *cfg, where, "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base")
    assert calls("mpl/base2new_train eurosat 3") == [base]
    assert calls("mpl/base2new_train eurosat 3 7 OPTIM.LR 0.1") == [f"{base} OPTIM.MAX_EPOCH 7 OPTIM.LR 0.1"]
    finished_run(tmp_path / "output" / where, "MultiModalPromptLearner", 7)
    new = f"--model-dir {tmp_path}/output/{where} --load-epoch 7 --eval-only DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES new"
    (tmp_path / "output" / where / "settings.txt").write_text("OPTIM.MAX_EPOCH 7\n")
    expected = [line(tmp_path, *cfg, where.replace("train_base", "test_new"), f"{new} OPTIM.MAX_EPOCH 7")]
    assert calls("mpl/base2new_test eurosat 3 7") == expected
    refused(run(tmp_path, "mpl/base2new_test eurosat 3"), "MAX_EPOCH 7", "OPTIM.MAX_EPOCH 5 is asked for")


def test_the_new_classes_meet_the_model_that_the_base_classes_met(calls: Callable, tmp_path: Path) -> None:
    train_dir = tmp_path / "output/base2new/train_base/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
    finished_run(train_dir, "MultiModalPromptLearner", 5)
    (train_dir / "result.json").write_text('{\n  "finished": true,\n  "config": {\n    "TEST": {\n      "FINAL_MODEL": "best_val"\n}}}\n')
    refused(run(tmp_path, "mpl/base2new_test eurosat 3"), f"no {train_dir}/MultiModalPromptLearner/model-best.pth.tar", "TEST.NO_TEST True")
    (train_dir / "MultiModalPromptLearner/model-best.pth.tar").touch()
    (call,) = calls("mpl/base2new_test eurosat 3")
    assert f"--model-dir {train_dir} --eval-only" in call
    assert "--load-epoch" not in call


def test_a_training_whose_checkpoints_are_gone_is_told(tmp_path: Path) -> None:
    train_dir = tmp_path / "output/base2new/train_base/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
    hint = "bash scripts/mpl/base2new_train.sh eurosat 3 --force"
    finished_run(train_dir, "MultiModalPromptLearner", 5)
    (train_dir / "MultiModalPromptLearner/model.pth.tar-5").unlink()
    refused(run(tmp_path, "mpl/base2new_test eurosat 3"), f"no {train_dir}/MultiModalPromptLearner/model.pth.tar-5", hint)
    (train_dir / "MultiModalPromptLearner/checkpoint").unlink()
    (train_dir / "MultiModalPromptLearner").rmdir()
    refused(run(tmp_path, "mpl/base2new_test eurosat 3"), f"no checkpoint in {train_dir}/MultiModalPromptLearner", hint)


def test_a_training_run_again_within_a_second_of_its_test_is_tested_again(calls: Callable, tmp_path: Path) -> None:
    below = "eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
    train_dir, test_dir = (tmp_path / "output/base2new" / part / below for part in ("train_base", "test_new"))

    def finished(folder: Path, ended: str) -> None:
        (folder / "result.json").write_text(f'{{\n  "finished": true,\n  "ended": "{ended}"\n}}\n')
        os.utime(folder / "result.json", (1e9, 1e9))  # one time for all, as where the shell tells times by the second

    finished_run(train_dir, "MultiModalPromptLearner", 5)
    finished(train_dir, "2026-01-01T00:00:00+00:00")
    assert "--eval-only" in calls("mpl/base2new_test eurosat 3")[0]
    finished(test_dir, "2026-01-01T00:00:01+00:00")
    assert calls("mpl/base2new_test eurosat 3")[0].startswith("Results are there")
    finished(train_dir, "2026-01-01T00:00:02+00:00")
    said, call = calls("mpl/base2new_test eurosat 3")
    assert said.startswith("Testing again, since the training is newer than the test")
    assert "--eval-only" in call


@pytest.mark.parametrize("folder", METHODS)
def test_cross_dataset_and_domain_generalisation_calls(folder: str, calls: Callable, tmp_path: Path) -> None:
    trainer = METHODS[folder]
    (call,) = calls(f"{folder}/xd_train imagenet 2")
    cfg = re.search(rf"configs/trainers/{trainer}/(\S+)\.yaml", call).group(1)
    where = f"crossdataset/imagenet/{trainer}/{cfg}_16shots/seed2"
    assert call == line(tmp_path, trainer, cfg, "imagenet", 2, where, "DATASET.NUM_SHOTS 16")
    finished_run(tmp_path / "output" / where, TRAINER_REGISTRY.get(trainer).checkpoint_name, 2)
    flags = f"--model-dir {tmp_path}/output/{where} --load-epoch 2 --eval-only"
    tests = {
        d: line(tmp_path, trainer, cfg, d, 2, f"crossdataset/evaluation/{d}/{trainer}/{cfg}_16shots/seed2", flags)
        for d in ("dtd", *VARIANTS)
    }
    assert calls(f"{folder}/xd_test dtd 2") == [tests["dtd"]]
    assert calls(f"{folder}/dg_test 2") == [tests[d] for d in VARIANTS]


def test_published_cross_dataset_configs_are_the_default(calls: Callable) -> None:
    for folder in ("mpl", "maple", "promptsrc"):
        assert "_cross_datasets.yaml" in calls(f"{folder}/xd_train imagenet 1")[0]
    assert "/vit_b16_ep50_ctxv1.yaml" in calls("coop/xd_train imagenet 1")[0]
    assert "/vit_b4_c1_add2_rm1.yaml" in calls("mpl/xd_train imagenet 1", CFG="vit_b4_c1_add2_rm1")[0]


def test_few_shot_calls(calls: Callable, tmp_path: Path) -> None:
    cfg = "vit_b16_c2_ep5_batch4_2ctx"
    each = {
        k: line(tmp_path, "MaPLe", cfg, "dtd", 1, f"fewshot/dtd/shots_{k}/MaPLe/{cfg}/seed1", f"DATASET.NUM_SHOTS {k}")
        for k in (1, 2, 4, 8, 16)
    }
    assert calls("maple/few_shot dtd 1") == list(each.values())
    assert calls("maple/few_shot dtd 1 4", TRAINER="MaPLe") == [each[4]]
    assert calls("maple/few_shot dtd 1", SHOTS="2") == [each[2]]


def test_coop_takes_the_epochs_of_its_paper(calls: Callable) -> None:
    def chosen(command: str) -> list[str]:
        return [re.search(r"CoOp/(\S+)\.yaml", call).group(1) for call in calls(command)]

    assert chosen("coop/few_shot dtd 1") == ["vit_b16_ep50", "vit_b16_ep100", "vit_b16_ep100", "vit_b16", "vit_b16"]
    assert chosen("coop/few_shot imagenet 1") == ["vit_b16_ep50"] * 5
    assert chosen("coop/base2new_train dtd 1") == ["vit_b16_ctxv1"]
    assert chosen("coop/base2new_train imagenet 1") == ["vit_b16_ep50_ctxv1"]


def test_promptsrc_weighs_epochs_by_dataset(calls: Callable) -> None:
    pairs = "TRAINER.PROMPTSRC.GPA_MEAN 45 TRAINER.PROMPTSRC.GPA_STD 5"
    for dataset in ("stanford_cars", "oxford_flowers", "fgvc_aircraft", "dtd", "eurosat"):
        assert calls(f"promptsrc/few_shot {dataset} 1 4")[0].endswith(f"NUM_SHOTS 4 {pairs}")
    assert calls("promptsrc/few_shot dtd 1 4 TRAINER.PROMPTSRC.GPA_STD 7")[0].endswith(f"{pairs} TRAINER.PROMPTSRC.GPA_STD 7")
    for dataset in ("imagenet", "caltech101", "oxford_pets", "food101", "ucf101", "sun397", "shapes"):
        assert calls(f"promptsrc/few_shot {dataset} 1 4")[0].endswith("NUM_SHOTS 4")
    assert calls("promptsrc/few_shot dtd 1 4", CFG="vit_b16_c2_ep20_batch4_4+4ctx")[0].endswith("NUM_SHOTS 4")


def test_coop_main_and_eval_call_as_published(calls: Callable, tmp_path: Path) -> None:
    context = "nctx16_cscTrue_ctpmiddle"
    pairs = "TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC True TRAINER.COOP.CLASS_TOKEN_POSITION middle"
    trained = [f"imagenet/CoOp/rn50_ep50_8shots/{context}/seed{seed}" for seed in (1, 2, 3)]
    expected = [
        line(tmp_path, "CoOp", "rn50_ep50", "imagenet", i + 1, where, f"{pairs} DATASET.NUM_SHOTS 8") for i, where in enumerate(trained)
    ]
    assert calls("coop/main imagenet rn50_ep50 middle 16 8 True") == expected
    for where in trained:
        finished_run(tmp_path / "output" / where, "prompt_learner", 50)
    tests = calls("coop/eval imagenetv2 rn50_ep50", SHOTS="8", CSC="True", CTP="middle")
    assert tests == [
        line(
            tmp_path,
            "CoOp",
            "rn50_ep50",
            "imagenetv2",
            i + 1,
            f"evaluation/CoOp/rn50_ep50_8shots/{context}/imagenetv2/seed{i + 1}",
            f"--model-dir {tmp_path}/output/{where} --load-epoch 50 --eval-only {pairs}",
        )
        for i, where in enumerate(trained)
    ]


def test_zero_shot_calls(calls: Callable, tmp_path: Path) -> None:
    def expected(dataset: str, classes: str, cfg: str = "vit_b16", trainer: str = "ZeroshotCLIP") -> str:
        where = f"{trainer}/{cfg}/{dataset}" + ("" if classes == "all" else f"/{classes}")
        return line(tmp_path, trainer, cfg, dataset, 1, where, f"--eval-only DATASET.SUBSAMPLE_CLASSES {classes}")

    assert calls("zsclip/zeroshot dtd rn50") == [expected("dtd", "all", "rn50")]
    for classes in ("all", "base", "new"):
        assert calls(f"zsclip/zeroshot dtd vit_l14_336 {classes}") == [expected("dtd", classes, "vit_l14_336")]
    assert calls("zsclip/base2new_train dtd 2") == [expected("dtd", "base")]
    assert calls("zsclip/base2new_test dtd 2") == [expected("dtd", "new")]
    assert calls("zsclip/base2new dtd 2")[:2] == [expected("dtd", "base"), expected("dtd", "new")]
    assert calls("zsclip/xd_train imagenet 2") == [expected("imagenet", "all")]
    assert calls("zsclip/xd_test dtd 2", TRAINER="ZeroshotCLIP2") == [expected("dtd", "all", trainer="ZeroshotCLIP2")]
    assert calls("zsclip/dg_test") == [expected(dataset, "all") for dataset in VARIANTS]


# The Python that they take


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin/python"


def test_what_a_python_lacks_is_named(empty_python: Path) -> None:
    done = subprocess.run([str(empty_python), str(REPO / "tools/check_requirements.py")], capture_output=True, text=True)
    assert done.returncode == 1
    for package in ("torch", "numpy", "yacs"):
        assert f"{package} is not installed" in done.stdout
    assert "pytest" not in done.stdout


def test_only_what_runs_is_asked_of_a_python_that_runs(tmp_path: Path) -> None:
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    stub.chmod(0o755)
    succeeded(run(tmp_path, "mpl/base2new_train eurosat 1", PYTHON=str(stub)))
    checked, trained = (tmp_path / "asked").read_text().splitlines()
    assert checked == f"{REPO}/tools/check_requirements.py"
    assert trained.startswith("train.py ")
    (tmp_path / "asked").unlink()
    succeeded(run(tmp_path, "setup", PYTHON=str(stub)))
    assert (tmp_path / "asked").read_text().splitlines()[0] == f"{REPO}/tools/check_requirements.py --tests"


def test_a_reader_that_goes_away_is_no_error(empty_python: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    call = [str(empty_python), str(REPO / "tools/check_requirements.py")]
    done = subprocess.run(call, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def shim(folder: Path, name: str, python: str | Path) -> None:
    """A command ``name`` in ``folder`` that is this Python."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (folder / name).chmod(0o755)


def test_a_python_without_the_requirements_is_passed_over(empty_python: Path, tmp_path: Path) -> None:
    shim(tmp_path / "bin", "python3", empty_python)
    shim(tmp_path / "bin", "python", sys.executable)
    ran = run(tmp_path, "setup", PYTHON="", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert succeeded(ran) == f"Ready: {sys.executable}\n"


def test_the_given_python_comes_first(tmp_path: Path) -> None:
    assert succeeded(run(tmp_path, "setup", PYTHON=sys.executable)) == f"Ready: {sys.executable}\n"


def test_a_given_python_that_cannot_be_used_is_told(empty_python: Path, tmp_path: Path) -> None:
    shim(tmp_path / "bin", "python3", sys.executable)  # one that could be used, but is not asked for
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for command in ("setup", "mpl/base2new eurosat 1"):
        refused(run(tmp_path, command, PYTHON=str(empty_python), PATH=path), f"PYTHON={empty_python}", "torch is not installed", "yacs is")
        refused(run(tmp_path, command, PYTHON="no/python", PATH=path), f"PYTHON={REPO}/no/python", "there is no such program")
    refused(run(tmp_path, "setup", PYTHON="python2.8", PATH=path), "PYTHON=python2.8", "there is no such program")
    assert not (tmp_path / "output").exists()


def test_a_missing_training_is_told_before_a_python_is_set_up(tmp_path: Path) -> None:
    for command in ("mpl/base2new_test eurosat 1", "mpl/xd_test eurosat 1", "mpl/dg_test 1", "coop/eval eurosat rn50"):
        refused(run(tmp_path, command, PYTHON="no/python"), "there is no finished training in")


def test_a_virtual_environment_without_pip_is_made_afresh(empty_python: Path, tmp_path: Path) -> None:
    pytest.importorskip("ensurepip", reason="this Python makes no virtual environments with pip")
    clone = tmp_path / "clone"
    (clone / "tools").mkdir(parents=True)
    for name in ("scripts/common.sh", "scripts/setup.sh", "tools/check_requirements.py"):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / name, clone / name)
    (clone / "requirements.txt").write_text("pip>=1.0\n")  # which comes with a whole environment: nothing is fetched
    subprocess.run([str(empty_python), "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    for name in ("python3", "python"):
        shim(tmp_path / "bin", name, empty_python)
    variables = environment(tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", PYTHON="")
    for expected in ([f"Installing requirements.txt into {clone}/.venv (once; some minutes)"], []):
        ran = subprocess.run(["bash", "scripts/setup.sh"], cwd=clone, env=variables, capture_output=True, text=True, timeout=300)
        assert succeeded(ran).splitlines() == [*expected, f"Ready: {clone}/.venv/bin/python"]
