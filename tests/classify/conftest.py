"""Small trained prompts: trainers on a small CLIP and a small EuroSAT, as tests/trainers has them, and their prompt files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.conftest import eurosat, weights  # noqa: F401, fixtures
from tests.trainers.small_runs import NODES, build
from trainers import prompt_file

CASES: dict[str, tuple[str, tuple]] = {  # name -> method and its settings, keys without a dot being the method's
    "MPL": ("MPL", ()),
    "MPL by layer": ("MPL", ("N_ADD_OP", [1, 3], "N_RM_OP", [0, 2], "TEXT_N_RM_OP", 0)),
    "MaPLe": ("MaPLe", ()),
    "IVLP": ("IVLP", ()),
    "IVLP without text": ("IVLP", ("PROMPT_DEPTH_TEXT", 0)),
    "VPT": ("VPT", ()),
    "CoOp": ("CoOp", ("N_CTX", 4)),
    "CoOp middle": ("CoOp", ("N_CTX", 4, "CLASS_TOKEN_POSITION", "middle")),
    "CoOp CSC": ("CoOp", ("N_CTX", 4, "CSC", True)),
    "CoCoOp": ("CoCoOp", ("CTX_INIT", "a photo of a")),
    "PromptSRC": ("PromptSRC", ()),
    "ZeroshotCLIP": ("ZeroshotCLIP", ()),
    "ZeroshotCLIP2": ("ZeroshotCLIP2", ("DATASET.TEMPLATE", "a drawing of a {}.")),
}


def pairs(method: str, *settings: Any) -> list[Any]:
    """KEY, VALUE pairs of which the keys without a dot are those of ``method``."""
    return [f"TRAINER.{NODES[method]}.{s}" if i % 2 == 0 and "." not in s else s for i, s in enumerate(settings)]


def trained(case: str, root: Path, weights_path: Path, output: Path, *more: Any) -> Any:
    """A trainer of :data:`CASES` whose prompts are no longer those of its start."""
    method, settings = CASES[case]
    trainer = build(method, root, weights_path, output, *pairs(method, *settings), *more)
    if hasattr(trainer, "learned"):
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in trainer.learned.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return trainer


@pytest.fixture(scope="session")
def prompts(eurosat: Path, weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:  # noqa: F811
    """From a name in :data:`CASES` to its trainer and its prompt file, made once."""
    made: dict[str, tuple[Any, Path]] = {}

    def get(case: str) -> tuple[Any, Path]:
        if case not in made:
            folder = tmp_path_factory.mktemp("prompts")
            trainer = trained(case, eurosat, weights["narrow"], folder)
            has_templates = not hasattr(trainer, "learned")
            learned = {} if has_templates else trainer.learned.state_dict()
            file = prompt_file.of_trainer(trainer, type(trainer), learned, tuple(trainer.templates()) if has_templates else ())
            made[case] = trainer, file.write(folder / prompt_file.FILE_NAME)
        return made[case]

    return get
