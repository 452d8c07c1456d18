"""Schedules from configs, through the methods' own builders, and the figure and tool that show them."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

import train
from clip import PromptSchedule
from reporting.schedule_figure import schedule_figure
from reporting.schedules import build_schedules, schedule_rows, token_origins
from tools.show_schedule import main

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs/trainers"
PAPER = CONFIGS / "MPL/vit_b4_c1_add2_rm1.yaml"
COUNTS = {  # config -> prompts that the layers of the image and of the text tower see, by hand from SPEC's table of settings
    "MPL/vit_b4_c1_add2_rm1": ([*range(1, 10), 9, 9, 9], [1] * 12),
    "MPL/vit_b4_c1_add2_rm1_cross_datasets": ([1, 2, *[3] * 10], [1] * 12),
    "MaPLe/vit_b16_c2_ep5_batch4_2ctx": ([2] * 12, [2] * 12),
    "IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only": (None, [4] * 12),
    "VPT/vit_b16_c2_ep5_batch4_4": ([8] * 12, None),
    "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx": ([4] * 12, [4] * 12),
    "CoOp/vit_b16": (None, [16] * 12),
    "CoOp/rn50": (None, [16] * 12),
    "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1": (None, [4] * 12),
    "MPL/tiny_shapes": ([1, 2, 3, 4, 5, 6], [1] * 6),
    "ZeroshotCLIP/vit_b16": (None, None),
}


def config(name: str, *pairs: str):
    words = ["--config-file", str(CONFIGS / f"{name}.yaml"), "--trainer", name.split("/")[0], *pairs]
    return train.setup_cfg(train.build_parser().parse_args(words))


@pytest.mark.parametrize("name", COUNTS)
def test_schedules_of_published_configs(name):
    schedules = build_schedules(config(name))
    found = tuple(None if schedule is None else schedule.n_present for _, schedule in schedules.towers)
    assert found == COUNTS[name]


def test_the_last_prompts_are_removed_first():
    schedule = PromptSchedule(4, 1, [2, 1], [0, 1])
    assert token_origins(schedule) == [([0], []), ([0, 1, 1], []), ([0, 1, 2], [1]), ([0, 1, 2], [])]


def test_rows_of_towers_of_unequal_depth(tmp_path):
    heads, rows = schedule_rows(build_schedules(config("MPL/vit_b4_c1_add2_rm1")))
    assert heads == ["layer", "image tower: carried", "removed", "added", "total", "text tower: carried", "removed", "added", "total"]
    assert rows[8] == ["8", "7", "1", "2", "9", "0", "1", "1", "1"]


def test_figure_draws_a_square_for_each_prompt_and_each_removed_one():
    figure = schedule_figure(build_schedules(config("MPL/vit_b4_c1_add2_rm1")))
    image, text = figure.axes
    assert len(image.patches) == sum([*range(1, 10), 9, 9, 9]) + 8
    assert len(text.patches) == 12 + 8
    dashed = [patch for patch in image.patches if patch.get_linestyle() not in ("-", "solid")]
    assert [round(patch.get_x() + patch.get_width() / 2) for patch in dashed] == list(range(1, 9))
    numbers = [t.get_text() for t in image.texts if round(t.get_position()[0]) == 2 and t.get_position()[1] >= 0]
    assert numbers == ["1", "2", "2"]  # layer 2 carries one prompt of layer 1 and adds two
    assert any(t.get_text() == "MPL on ViT-B/16" for t in figure.findobj(matplotlib.text.Text))


def test_tool_prints_the_table_and_draws(tmp_path, capsys):
    out = tmp_path / "new/schedule.svg"
    assert main(["--config-file", str(PAPER), "TRAINER.MPL.PROMPT_DEPTH", "3", "--out", str(out)]) == 0
    lines = capsys.readouterr().out
    assert "PROMPT_DEPTH 3" in lines and "…" not in lines
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines.splitlines() if line.startswith("│")]
    assert [row[4] for row in rows] == ["1", "2", *["3"] * 10]
    assert "<svg" in out.read_text()


def test_tool_refuses_what_a_run_would_refuse(tmp_path, capsys):
    assert main(["--config-file", str(PAPER), "TRAINER.MPL.N_RM_OP", "3"]) == 2
    assert "layer 1 of the image tower would remove 3 prompts where 1 are present" in capsys.readouterr().err
    assert main(["--config-file", str(PAPER), "--out", str(tmp_path / "x.jpg")]) == 2
    assert "must end in .png, .svg, .pdf" in capsys.readouterr().err
    zero_shot = str(CONFIGS / "ZeroshotCLIP/vit_b16.yaml")
    assert main(["--config-file", zero_shot]) == 0
    assert "text tower: no learned prompts" in capsys.readouterr().out
    assert main(["--config-file", zero_shot, "--out", str(tmp_path / "x.svg")]) == 2
    assert "ZeroshotCLIP learns no prompt in either tower" in capsys.readouterr().err
