"""The published command on a EuroSAT folder with ViT-B/16 weights in OpenAI's archive format (random
values), at 224² on the CPU, to the end.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from clip.model import CLIP
from clip.weights import published_models
from tests.launchers import run, succeeded
from tests.trainers.small_runs import write_eurosat
from tests.weights_files import write_openai_archive


def test_the_published_command_trains_to_the_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = published_models()["ViT-B/16"]
    path = tmp_path / "home/.cache/clip" / published.archive_path.name
    write_openai_archive(CLIP(published.config).state_dict(), path)
    write_eurosat(tmp_path / "data", n_train=2, n_test=1)
    printed = succeeded(run(tmp_path, "mpl/base2new_train eurosat 1 1"))  # one epoch instead of five
    run_dir = tmp_path / "output/base2new/train_base/eurosat/shots_16/MPL/vit_b4_c1_add2_rm1/seed1"
    result = json.loads((run_dir / "result.json").read_text())
    assert result["finished"]
    assert (result["n_classes"], result["total"], result["config"]["INPUT"]["SIZE"]) == (3, 3, [224, 224])
    for line in ("Trainable parameters: 6,702,336", "epoch [1/1] batch [1/1]"):
        assert line in printed
    learned = torch.load(run_dir / "MultiModalPromptLearner" / "model.pth.tar-1")["state_dict"]
    assert sum(v.numel() for v in learned.values()) == 6_702_336
