"""Whole runs by the launchers, on the Shapes pictures: what is finished, unfinished, killed, or of other settings; and every method once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch

import trainers  # noqa: F401, registers the methods
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.run_lock import hold_run_folder, note_settings, remove_run
from tests.launchers import METHODS, REPO, Ran, environment, refused, run, succeeded


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose data/ gets the Shapes pictures with the first run."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def base2new(world: Path) -> Ran:
    """The newcomer's command, with 2 shots and 1 epoch."""
    return run(world, "mpl/base2new shapes 1 1", SHOTS="2")


BELOW = "shapes/shots_2/MPL/tiny_shapes/seed1"


def results(output: Path) -> tuple[dict, dict]:
    """result.json of training and test."""
    return tuple(json.loads((output / f"base2new/{part}/{BELOW}/result.json").read_text()) for part in ("train_base", "test_new"))


def test_base2new_trains_tests_and_prints_base_new_and_h(base2new: Ran, world: Path) -> None:
    last = succeeded(base2new).splitlines()[-1]
    base, new = results(world / "output")
    assert (base["finished"], base["subsample"], base["shots"], base["epochs_done"]) == (True, "base", 2, 1)
    assert (new["finished"], new["subsample"]) == (True, "new")
    a, b = base["accuracy"], new["accuracy"]
    assert last == f"Shapes: base {a:.2f}  new {b:.2f}  H {2 * a * b / (a + b):.2f}"


def test_again_says_that_the_results_are_there(base2new: Ran, world: Path) -> None:
    again = succeeded(run(world, "mpl/base2new shapes 1 1 DATALOADER.NUM_WORKERS 0", SHOTS="2")).splitlines()
    assert [text.split(":")[0] for text in again] == ["Results are there", "Results are there", "Shapes"]
    assert again[-1] == base2new.stdout.splitlines()[-1]


def test_paths_are_of_the_folder_one_is_in(base2new: Ran, world: Path) -> None:
    elsewhere = run(world, "mpl/base2new shapes 1 1", cwd=world, SHOTS="2", DATA="data", OUTPUT="output")
    assert succeeded(elsewhere).count("Results are there") == 2
    call = ["bash", "base2new.sh", "shapes", "1", "1"]
    inside = subprocess.run(call, cwd=REPO / "scripts/mpl", env=environment(world, SHOTS="2"), capture_output=True, text=True)
    assert succeeded(inside).count("Results are there") == 2


def test_results_of_other_settings_are_not_taken_for_these(base2new: Ran, world: Path) -> None:
    hint = "set OUTPUT to another folder, give the settings that it was begun with, or "
    again = run(world, "mpl/base2new_train shapes 1 2", SHOTS="2")
    refused(again, "OPTIM.MAX_EPOCH 1", "OPTIM.MAX_EPOCH 2 is asked for", f"{hint}add --force to replace it")
    refused(run(world, "mpl/base2new shapes 1", SHOTS="2"), "OPTIM.MAX_EPOCH 5 is asked for", hint)
    afresh = f"{hint}train it afresh by SHOTS=2 bash scripts/mpl/base2new_train.sh shapes 1 1 TRAINER.MPL.N_RM_OP 0 --force"
    refused(run(world, "mpl/base2new_test shapes 1 1 TRAINER.MPL.N_RM_OP 0", SHOTS="2"), "TRAINER.MPL.N_RM_OP 0 is asked for", afresh)


def test_base_and_new_are_tested_on_one_model(base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    out = succeeded(run(world, "mpl/base2new shapes 1 2 TEST.FINAL_MODEL best_val", SHOTS="2", OUTPUT=str(tmp_path)))
    assert out.splitlines()[-1].startswith("Shapes: base ")
    base, new = results(tmp_path)
    best = str(tmp_path / "base2new/train_base" / BELOW / "MultiModalPromptLearner/model-best.pth.tar")
    assert [list(result["loaded_from"].values()) for result in (base, new)] == [[best], [best]]


def test_force_runs_afresh_and_its_test_is_no_longer_taken(base2new: Ran, world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "output", tmp_path / "output")
    old = tmp_path / "output/base2new/train_base" / BELOW / "log.txt-2020-01-01-00-00-00"
    old.touch()
    before = results(tmp_path / "output")
    trained = succeeded(run(world, "mpl/base2new_train shapes 1 1 --force", SHOTS="2", OUTPUT=str(tmp_path / "output")))
    assert not old.exists()
    assert "epoch [1/1]" in trained
    tested = succeeded(run(world, "mpl/base2new_test shapes 1 1", SHOTS="2", OUTPUT=str(tmp_path / "output")))
    assert "Testing again, since the training is newer than the test" in tested
    after = results(tmp_path / "output")
    assert [r["accuracy"] for r in after] == [r["accuracy"] for r in before]  # the same seed
    assert all(b["ended"] < a["ended"] for b, a in zip(before, after, strict=True))


def test_force_with_what_cannot_work_leaves_the_run_that_is_there(base2new: Ran, world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "output", tmp_path / "output")
    before = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(("log.txt", "settings.txt"))
    }
    done = run(world, "mpl/base2new_train shapes 1 1 --force TRAINER.MPL.PROMPT_DEPTH 9", SHOTS="2", OUTPUT=str(tmp_path / "output"))
    assert done.returncode != 0 and "PROMPT_DEPTH is 9" in done.stderr + done.stdout
    assert any(path.name == "result.json" for path in before)
    assert {path: path.read_bytes() for path in before} == before


def test_neither_force_nor_other_settings_touch_a_folder_in_which_a_run_works(base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    run_dir = tmp_path / "base2new/train_base" / BELOW
    with hold_run_folder(str(run_dir)):
        note_settings(str(run_dir), "OPTIM.MAX_EPOCH 1\n")
        for words in ("1 --force", "7"):
            ran = run(world, f"mpl/base2new_train shapes 1 {words}", SHOTS="2", OUTPUT=str(tmp_path))
            refused(ran, f"another run works in the folder {run_dir}", f"process {os.getpid()} on ")
            assert sorted(path.name for path in run_dir.iterdir()) == [".run.holder.json", ".run.lock", "settings.txt"]
            assert (run_dir / "settings.txt").read_text() == "OPTIM.MAX_EPOCH 1\n"


def test_of_two_starts_with_other_settings_the_later_one_is_refused(tmp_path: Path) -> None:
    """As where both looked before either had begun, so that the launchers refused none."""
    folder = str(tmp_path)
    note_settings(folder, "OPTIM.LR 0.1")
    note_settings(folder, "OPTIM.LR 0.2")  # nothing has begun yet
    (tmp_path / "result.json").write_text("{}")
    note_settings(folder, "OPTIM.LR 0.2\n# tests the training that ended now")
    with pytest.raises(ValueError, match=r"holds a run with OPTIM\.LR 0\.2 .* but OPTIM\.LR 0\.3 is asked for"):
        note_settings(folder, "OPTIM.LR 0.3")
    assert (tmp_path / "settings.txt").read_text() == "OPTIM.LR 0.2\n# tests the training that ended now\n"


def test_a_fresh_run_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    """Zero-shot CLIP on base and new stands in the folder of that on all classes; and --output-dir may name any folder at all."""
    of_a_run = (
        "result.json",
        "log.txt",
        "log.txt-2026-01-01-00-00-00",
        "tensorboard/events.out.tfevents.1.host",
        "prompt_learner/checkpoint",
        "prompt_learner/model.pth.tar-5",
        "models/model.pth.tar-5",
    )
    of_others = (
        "base/result.json",
        "thesis.tex",
        "holiday/photo.jpg",
        "models/README.md",
        "empty/",
        "best-of-all/checkpoint",
        "best-of-all/model.pth.tar-5",
    )
    for name in of_a_run + of_others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with hold_run_folder(str(tmp_path)):
        remove_run(str(tmp_path), ["prompt_learner", "models"])
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {".run.holder.json", ".run.lock", "base", "best-of-all", "holiday", "models", *(name.rstrip("/") for name in of_others)}


def test_a_fresh_run_leaves_what_somebody_else_put_beside_its_files(tmp_path: Path) -> None:
    """And never a checkpoint, from which the new run would go on."""
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (tmp_path / "linked").symlink_to(elsewhere)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "model").mkdir()
    for name in (
        "tensorboard/events.out.tfevents.1.host",
        "tensorboard/notes.md",
        "model/checkpoint",
        "model/model.pth.tar-5",
        "model/.DS_Store",
    ):
        (tmp_path / name).touch()
    (elsewhere / "checkpoint").touch()
    remove_run(str(tmp_path), ["model", "linked"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"tensorboard/notes.md", "model/.DS_Store"} and elsewhere.is_dir()


def test_a_run_has_a_folder_with_a_name() -> None:
    with pytest.raises(ValueError, match="OUTPUT_DIR is empty; give the folder of the run with --output-dir"), hold_run_folder(""):
        pass


def kill_after_first_checkpoint(world: Path, output: Path, command: list[str]) -> None:
    """Start ``command`` and end all its processes with SIGKILL as soon as it says that it saved a checkpoint."""
    variables = environment(world, SHOTS="2", OUTPUT=str(output), PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        seen = []
        for text in process.stdout:
            seen.append(text)
            if text.startswith("Checkpoint saved"):
                os.killpg(process.pid, signal.SIGKILL)
                break
        else:
            raise AssertionError("no checkpoint was saved:\n" + "".join(seen[-30:]))


def test_a_killed_run_goes_on_to_the_same_end(base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    words = "mpl/base2new_train shapes 1 3 TRAIN.PRINT_FREQ 1 TEST.NO_TEST True"
    succeeded(run(world, words, SHOTS="2", OUTPUT=str(tmp_path / "whole")))
    script, *arguments = words.split()
    kill_after_first_checkpoint(world, tmp_path / "killed", ["bash", str(REPO / f"scripts/{script}.sh"), *arguments])
    whole, killed = (tmp_path / name / "base2new/train_base" / BELOW for name in ("whole", "killed"))
    state = json.loads((killed / "result.json").read_text())
    assert (state["finished"], state["epochs_done"] < 3) == (False, True)
    refused(run(world, "mpl/base2new_test shapes 1 3", SHOTS="2", OUTPUT=str(tmp_path / "killed")), "no finished training in")
    out = succeeded(run(world, words, SHOTS="2", OUTPUT=str(tmp_path / "killed")))
    assert f"Unfinished run: going on in {killed}" in out
    assert "Found checkpoint at" in out
    assert "epoch [1/3]" not in out
    ends = [torch.load(path / "MultiModalPromptLearner/model.pth.tar-3")["state_dict"] for path in (whole, killed)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    losses = [[(m["epoch"], m["batch"], m["loss"]) for m in map(json.loads, (path / "metrics.jsonl").open())] for path in (whole, killed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3 * 6  # 12 base classes x 2 pictures in batches of 4


@pytest.mark.parametrize("folder", METHODS)
def test_every_method_trains_on_shapes(folder: str, base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    key = METHODS[folder].upper()
    words = f"{folder}/few_shot shapes 1 1 OPTIM.MAX_EPOCH 1 TEST.NO_TEST True TRAINER.{key}.PREC fp16 USE_CUDA False"
    out = succeeded(run(world, words, OUTPUT=str(tmp_path)))
    assert "Trainable parameters: " in out
    run_dir = tmp_path / f"fewshot/shapes/shots_1/{METHODS[folder]}/tiny_shapes/seed1"
    result = json.loads((run_dir / "result.json").read_text())
    assert (result["finished"], result["trainer"], result["n_classes"], result["n_train_x"]) == (True, METHODS[folder], 24, 24)
    assert (result["config"]["TRAINER"][key]["PREC"], result["computed_in"]) == ("fp16", "fp32")  # a CPU serves no fp16
    assert (run_dir / TRAINER_REGISTRY.get(METHODS[folder]).checkpoint_name / "model.pth.tar-1").is_file()


def test_cross_dataset_from_a_source_of_ones_own(base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    more = {"SHOTS": "1", "OUTPUT": str(tmp_path)}
    words = "shapes 1 OPTIM.MAX_EPOCH 1 OPTIM.LR 0.01"
    succeeded(run(world, f"maple/xd_train {words} TEST.NO_TEST True", **more))
    refused(run(world, "maple/xd_test shapes 1 OPTIM.MAX_EPOCH 1", SOURCE="shapes", **more), "OPTIM.LR 0.01")
    out = succeeded(run(world, f"maple/xd_test {words} DATASET.VAL_PERCENT 0.2", SOURCE="shapes", **more))  # data may differ, training not
    assert "* total: 1,440" in out
    (tested,) = (tmp_path / "crossdataset/evaluation").rglob("result.json")
    assert tested.parent.relative_to(tmp_path).as_posix() == "crossdataset/evaluation/shapes/MaPLe/tiny_shapes_1shots/seed1"
    (loaded,) = json.loads(tested.read_text())["loaded_from"].values()
    assert loaded == str(tmp_path / "crossdataset/shapes/MaPLe/tiny_shapes_1shots/seed1/MultiModalPromptLearner/model.pth.tar-1")


def test_zero_shot_base_to_new(base2new: Ran, world: Path, tmp_path: Path) -> None:
    succeeded(base2new)  # the pictures are there
    out = succeeded(run(world, "zsclip/base2new shapes 1", OUTPUT=str(tmp_path)))
    assert re.fullmatch(r"Shapes: base [\d.]+  new [\d.]+  H [\d.]+", out.splitlines()[-1])
