"""Grids: how they are read, and which points the methods refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.grid import points, read_setting
from sweeps.protocols import SweepError
from tests.sweeps.stand_in import StandIn


def test_points_are_all_combinations_and_name_folders() -> None:
    found = points(["TRAINER.MPL.N_ADD_OP=1,2", "TRAINER.MPL.N_RM_OP=0,1"])
    assert [p.name for p in found] == ["N_ADD_OP=1,N_RM_OP=0", "N_ADD_OP=1,N_RM_OP=1", "N_ADD_OP=2,N_RM_OP=0", "N_ADD_OP=2,N_RM_OP=1"]
    assert found[1].settings == (("TRAINER.MPL.N_ADD_OP", "1"), ("TRAINER.MPL.N_RM_OP", "1"))
    assert [p.settings for p in points([])] == [()]


def test_a_list_is_one_value() -> None:
    assert read_setting("TRAINER.MPL.N_ADD_OP=[1,2],3,(4, 5)", "--grid")[1] == ["[1,2]", "3", "(4, 5)"]
    (point, _) = points(["TRAINER.MPL.N_ADD_OP=[1,2],[2,1]"])
    assert (point.name, point.settings[0][1]) == ("N_ADD_OP=1_2", "[1,2]")


def test_folders_have_whole_keys_where_last_words_agree() -> None:
    (point,) = points(["MODEL.BACKBONE.NAME=ViT-B/16", "OPTIM.NAME=sgd"])
    assert point.name == "MODEL.BACKBONE.NAME=ViT-B_16,OPTIM.NAME=sgd"


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["OPTIM.LR"], "received 'OPTIM.LR'"),
        (["OPTIM.LR="], "received 'OPTIM.LR='"),
        (["optim lr=1"], "received 'optim lr=1'"),
        (["OPTIM.LR=1,2", "OPTIM.LR=3"], "OPTIM.LR more than once"),
        (["OPTIM.LR=1,2,1"], "OPTIM.LR=1 more than once"),
        (["MODEL.BACKBONE.NAME=ViT-B/16,ViT-B_16"], "as folder names,"),
    ],
)
def test_what_is_no_grid_is_told(texts: list[str], part: str) -> None:
    with pytest.raises(SweepError) as raised:
        points(texts)
    assert part in str(raised.value)


def test_points_that_the_method_refuses_are_named_and_left_out(reproduce: Callable, stand_in: StandIn, tmp_path: Path) -> None:
    grid = "--grid TRAINER.MPL.N_ADD_OP=1,2 TRAINER.MPL.N_RM_OP=1,3 TRAINER.MPL.PROMPT_DEPTH=3,13"
    status, out, _ = reproduce(f"base2new --datasets eurosat --seeds 1 --jobs 1 {grid}")
    assert status == 0
    left_out = [line for line in out.splitlines() if line.startswith("Left out")]
    assert len(left_out) == 6
    depth = "TRAINER.MPL.PROMPT_DEPTH is 13; this backbone takes 1 to 12"
    assert left_out[0].startswith(f"Left out: N_ADD_OP=1,N_RM_OP=1,PROMPT_DEPTH=13: {depth}")
    assert left_out[1].startswith(
        "Left out: N_ADD_OP=1,N_RM_OP=3,PROMPT_DEPTH=3: layer 1 of the image tower would remove 3 prompts where 1 are present"
    )
    below = "shots_16/MPL/vit_b4_c1_add2_rm1/seed1"
    kept = [
        f"grid/N_ADD_OP={a},N_RM_OP=1,PROMPT_DEPTH=3/base2new/{part}/eurosat/{below}" for a in (1, 2) for part in ("train_base", "test_new")
    ]
    assert stand_in.finished() == sorted(kept)
    settings = (tmp_path / "output" / kept[0] / "settings.txt").read_text().splitlines()
    assert settings[1:4] == ["TRAINER.MPL.N_ADD_OP 1", "TRAINER.MPL.N_RM_OP 1", "TRAINER.MPL.PROMPT_DEPTH 3"]


def test_a_grid_of_which_nothing_is_left_and_a_refused_setting(reproduce: Callable, stand_in: StandIn) -> None:
    status, _, err = reproduce("base2new --datasets eurosat --seeds 1 --grid TRAINER.MPL.N_RM_OP=8,9")
    assert (status, err.splitlines()[0]) == (2, "Error: no point of the grid can be run:")
    assert err.count("patch and word tokens are never removed") == 2
    status, _, err = reproduce("xd --datasets eurosat --seeds 1 --set OPTIM.LR=-1 OPTIM.NO_SUCH=2")
    assert status == 2
    assert err.startswith("Error: --set: ")
    assert "OPTIM.NO_SUCH" in err
    status, _, err = reproduce("base2new --datasets eurosat --methods CoOp,MPL --grid TRAINER.MPL.N_RM_OP=0,1")
    assert (status, "TRAINER.MPL.N_RM_OP would change nothing of some of the methods CoOp, MPL" in err) == (2, True)
    assert stand_in.folders() == []
