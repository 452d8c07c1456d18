"""What a launcher compares before it takes a run for done: settings and config files; and what it does with the settings that it is given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dassl.utils.run_lock import note_settings
from tests.launchers import REPO, Ran, calls_of_stand_in, environment, finished_run, refused, run

BELOW = "eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
TRAINED = f"output/base2new/train_base/{BELOW}"
CONFIG = "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what the launchers read, whose configs may be edited."""
    folder = tmp_path / "clone"
    for name in ("scripts", "configs/datasets", "configs/trainers/MPL"):
        shutil.copytree(REPO / name, folder / name)
    (folder / "preparation").mkdir()
    shutil.copy(REPO / "preparation/sources.yaml", folder / "preparation")
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace what stands there once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_settings_that_change_no_result_may_differ(tmp_path: Path) -> None:
    calls = calls_of_stand_in(tmp_path)
    folder = tmp_path / "output/base2new/train_base/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed3"
    pairs = "TRAIN.PRINT_FREQ 1 DATALOADER.CACHE_GIB 0 DATALOADER.CACHE_DIR /scratch DATALOADER.NUM_WORKERS 2 VERBOSE False SPEED.TRIM_TEXT False"
    (call,) = calls(f"mpl/base2new_train eurosat 3 5 OPTIM.LR 0.1 {pairs}")
    assert call.endswith(pairs)
    lines = (folder / "settings.txt").read_text().splitlines()
    assert lines[:2] == ["OPTIM.MAX_EPOCH 5", "OPTIM.LR 0.1"]
    assert [mark.split()[1::2] for mark in lines[2:]] == [
        ["config", f"configs/{name}.yaml"] for name in ("datasets/eurosat", "trainers/MPL/vit_b4_c1_add2_rm1")
    ]
    (folder / "result.json").write_text("{}")
    assert len(calls("mpl/base2new_train eurosat 3 5 OPTIM.LR 0.1 SPEED.PACK_TEXT False")) == 2, "going on is said"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (CONFIG, "  WEIGHT_DECAY: 5e-4", "  WEIGHT_DECAY: 5e-3"),
        (CONFIG, '    CTX_INIT: "a photo of a"', '    CTX_INIT: "a # photo of a"'),
        ("configs/datasets/eurosat.yaml", '  NAME: "EuroSAT"', '  NAME: "EuroSAT"\n  TEMPLATE: "{}"'),
    ],
)
def test_a_config_file_that_has_changed_is_told(name: str, old: str, new: str, clone: Path, tmp_path: Path) -> None:
    calls = calls_of_stand_in(tmp_path, clone=clone)
    calls("mpl/base2new_train eurosat 3")
    finished_run(tmp_path / TRAINED, "MultiModalPromptLearner", 5)
    calls("mpl/base2new_test eurosat 3")
    tested = tmp_path / TRAINED.replace("train_base", "test_new")
    (tested / "result.json").write_text('{\n  "finished": true\n}\n')
    edit(clone / name, old, new)
    changed = f"the config file {name} has changed since the run in {tmp_path / TRAINED} was begun"
    advice = "set OUTPUT to another folder, put the file back as it was, or "

    def ask(command: str) -> Ran:
        return run(tmp_path, command, clone=clone, PYTHON=str(tmp_path / "python"))

    refused(ask("mpl/base2new_train eurosat 3"), changed, f"{advice}add --force to replace it")
    refused(ask("mpl/base2new_test eurosat 3"), changed, f"{advice}train it afresh by bash scripts/mpl/base2new_train.sh eurosat 3 --force")
    (planned,) = calls("mpl/base2new_train eurosat 3", LAUNCH_PLAN="1")
    assert planned.startswith("refused\t") and planned.count("\t") == 4 and changed in planned
    assert calls("mpl/base2new_train eurosat 3", OUTPUT=str(tmp_path / "other"))[0].startswith("train.py ")
    assert "--fresh" in calls("mpl/base2new_train eurosat 3 --force")[0]
    assert calls("mpl/base2new_train eurosat 3")[0].startswith("Results are there")
    refused(ask("mpl/base2new_test eurosat 3"), f"has changed since the run in {tested} was begun")


def test_an_unfinished_run_may_go_on_in_another_precision(tmp_path: Path) -> None:
    """As the error after numbers that are not finite says; a finished one is another result."""
    calls = calls_of_stand_in(tmp_path)
    calls("mpl/base2new_train eurosat 3")
    result, amp = tmp_path / TRAINED / "result.json", "TRAINER.MPL.PREC amp"
    result.write_text('{\n  "finished": false\n}\n')
    assert calls(f"mpl/base2new_train eurosat 3 {amp}")[0].startswith("Unfinished run: going on")
    note_settings(str(tmp_path / TRAINED), "OPTIM.MAX_EPOCH 5\nTRAINER.MPL.PREC fp32")
    assert (tmp_path / TRAINED / "settings.txt").read_text() == "OPTIM.MAX_EPOCH 5\nTRAINER.MPL.PREC fp32\n"
    result.write_text('{\n  "finished": true\n}\n')
    refused(run(tmp_path, f"mpl/base2new_train eurosat 3 {amp}", PYTHON=str(tmp_path / "python")), "PREC fp32", f"{amp} is asked for")
    with pytest.raises(ValueError, match="PREC fp32"):
        note_settings(str(tmp_path / TRAINED), f"OPTIM.MAX_EPOCH 5\n{amp}")


def test_the_command_that_trains_what_is_to_be_tested_is_whole(tmp_path: Path) -> None:
    more = {"SHOTS": "4", "CFG": "vit_b16_c2_ep5_batch4_4"}
    told = "run first: SHOTS=4 CFG=vit_b16_c2_ep5_batch4_4 bash scripts/vpt/base2new_train.sh shapes 1 OPTIM.LR 0.1"
    refused(run(tmp_path, "vpt/base2new_test shapes 1 OPTIM.LR 0.1", **more), told)
    ran = run(tmp_path, "mpl/xd_test folder 1 DATASET.FOLDER_PATH pics OPTIM.LR 0.1", SOURCE="shapes")
    assert "DATASET.FOLDER_PATH" not in ran.stderr.partition("run first: ")[2], ran.stderr


def test_a_relative_path_of_a_linked_folder_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    calls_of_stand_in(tmp_path)
    script = f'cd "{tmp_path}/link" && OUTPUT=../out exec bash "{REPO}/scripts/mpl/base2new_train.sh" eurosat 3 MODEL.INIT_WEIGHTS ../m.tar'
    done = subprocess.run(
        ["bash", "-c", script], env=environment(tmp_path, PYTHON=str(tmp_path / "python")), capture_output=True, text=True
    )
    real = tmp_path.resolve() / "real"
    assert f"--output-dir {real}/deep/../out/" in done.stdout and f"MODEL.INIT_WEIGHTS {real}/m.tar" in done.stdout, (
        done.stdout + done.stderr
    )


def test_a_run_of_before_config_files_were_noted_is_taken(tmp_path: Path) -> None:
    finished_run(tmp_path / TRAINED, "MultiModalPromptLearner", 5)
    (tmp_path / TRAINED / "settings.txt").write_text("OPTIM.MAX_EPOCH 5\n")
    assert calls_of_stand_in(tmp_path)("mpl/base2new_train eurosat 3")[0].startswith("Results are there")


def test_edits_of_a_config_that_change_no_result_do_not_count(clone: Path, tmp_path: Path) -> None:
    calls = calls_of_stand_in(tmp_path, clone=clone)
    calls("mpl/base2new_train eurosat 3 7")
    finished_run(tmp_path / TRAINED, "MultiModalPromptLearner", 7)
    edit(clone / CONFIG, "  WEIGHT_DECAY: 5e-4", "  WEIGHT_DECAY: 5e-4   # as published\r\n# MPL's own:\n")
    edit(clone / CONFIG, "  NUM_WORKERS: 8", "  NUM_WORKERS: 2")
    (clone / CONFIG).write_text((clone / CONFIG).read_text().rstrip("\n"))
    edit(clone / CONFIG, "  MAX_EPOCH: 5", "  MAX_EPOCH: 9")
    assert calls("mpl/base2new_train eurosat 3 7")[0].startswith("Results are there")
    again = run(tmp_path, "mpl/base2new_train eurosat 3", clone=clone, PYTHON=str(tmp_path / "python"))
    refused(again, "OPTIM.MAX_EPOCH 7", "OPTIM.MAX_EPOCH 9 is asked for")


def test_a_training_without_a_test_is_not_begun_where_base_is_to_be_printed(tmp_path: Path) -> None:
    told = ("TEST.NO_TEST True", "leave it out", "bash scripts/mpl/base2new_train.sh alone", "base2new_test.sh without it")
    refused(run(tmp_path, "mpl/base2new shapes 1 TEST.NO_TEST True"), *told)
    assert not (tmp_path / "output").exists()
    calls = calls_of_stand_in(tmp_path)
    assert calls("mpl/base2new_train eurosat 3 TEST.NO_TEST True")[0].endswith("TEST.NO_TEST True")
    finished_run(tmp_path / TRAINED, "MultiModalPromptLearner", 5)
    assert "--eval-only" in calls("mpl/base2new_test eurosat 3")[0]
    assert calls("zsclip/base2new dtd TEST.NO_TEST False")


def test_paths_among_the_pairs_are_of_the_folder_one_is_in(tmp_path: Path) -> None:
    (tmp_path / "here/below").mkdir(parents=True)
    (tmp_path / "here/my.safetensors").touch()
    (tmp_path / "here/below/RN50").touch()
    calls = calls_of_stand_in(tmp_path, cwd=tmp_path / "here/below")

    def pairs(words: str) -> str:
        (call,) = calls(f"mpl/base2new_train eurosat 3 --force {words}")
        return call.partition("SUBSAMPLE_CLASSES base ")[2].replace(str(tmp_path), "TMP")

    assert pairs("MODEL.INIT_WEIGHTS ../run/m.pth RESUME old") == "MODEL.INIT_WEIGHTS TMP/here/below/../run/m.pth RESUME TMP/here/below/old"
    assert pairs("DATALOADER.CACHE_DIR ../cache MODEL.BACKBONE.NAME ../my.safetensors") == (
        "DATALOADER.CACHE_DIR TMP/here/cache MODEL.BACKBONE.NAME TMP/here/my.safetensors"
    )
    for kept in ("BACKBONE.NAME RN50", "BACKBONE.NAME ViT-B/16", "INIT_WEIGHTS /runs/m.pth", "INIT_WEIGHTS ~/a.pth", "INIT_WEIGHTS None"):
        assert pairs(f"MODEL.{kept}") == f"MODEL.{kept}"


def test_a_run_begun_with_a_relative_path_is_taken_for_the_same(tmp_path: Path) -> None:
    calls = calls_of_stand_in(tmp_path)
    begun = "OPTIM.MAX_EPOCH 5\nMODEL.BACKBONE.NAME clip/tiny_shapes.safetensors\nMODEL.INIT_WEIGHTS output/m.pth\n"
    finished_run(tmp_path / TRAINED, "MultiModalPromptLearner", 5)
    (tmp_path / TRAINED / "settings.txt").write_text(begun)
    asked = "mpl/base2new_train eurosat 3 MODEL.BACKBONE.NAME {0}clip/tiny_shapes.safetensors MODEL.INIT_WEIGHTS {1}/m.pth"
    assert calls(asked.format("", "output"))[0].startswith("Results are there")
    assert calls(asked.format("../", REPO / "output"), cwd=REPO / "scripts")[0].startswith("Results are there")
    refused(run(tmp_path, asked.format("../", "m"), cwd=REPO / "scripts", PYTHON=str(tmp_path / "python")), "INIT_WEIGHTS", "is asked for")


def test_train_py_takes_them_for_the_same_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    note_settings(str(tmp_path), "MODEL.BACKBONE.NAME clip/tiny_shapes.safetensors\nRESUME output/a")
    (tmp_path / "result.json").write_text("{}")
    note_settings(str(tmp_path), f"MODEL.BACKBONE.NAME {REPO}/clip/tiny_shapes.safetensors\nRESUME {REPO}/output/a")
    with pytest.raises(ValueError, match=r"output/a .* but .*output/b is asked for"):
        note_settings(str(tmp_path), "MODEL.BACKBONE.NAME clip/tiny_shapes.safetensors\nRESUME output/b")
