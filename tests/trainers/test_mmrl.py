"""Which of MMRL's features a test takes."""

from pathlib import Path

import pytest
import torch

from classify.building import build_model
from clip import load
from tests.trainers.small_runs import IMAGES, config
from trainers.mmrl import takes_both
from trainers.prompt_file import FILE_NAME, PromptFile


@pytest.mark.parametrize(
    ("task", "dataset", "part", "expected"),
    [
        ("B2N", "EuroSAT", "base", True),
        ("B2N", "EuroSAT", "new", False),
        ("B2N", "EuroSAT", "all", False),
        ("FS", "EuroSAT", "all", True),
        ("CD", "ImageNet", "all", True),
        ("CD", "EuroSAT", "all", False),
        ("CD", "ImageNetV2", "all", False),
    ],
)
def test_the_task_says_whether_a_test_takes_both_features(
    task: str, dataset: str, part: str, expected: bool, tmp_path: Path
) -> None:
    pairs = ("TASK", task, "DATASET.NAME", dataset, "DATASET.SUBSAMPLE_CLASSES", part)
    assert takes_both(config("MMRL", tmp_path, "", tmp_path, *pairs)) is expected


def test_new_class_names_are_classified_by_the_class_feature_alone(make, weights, tmp_path: Path) -> None:
    """Those of the training as in its own test, in the words of its template."""
    pairs = ("TASK", "FS", "OPTIM.MAX_EPOCH", 1, "DATASET.TEMPLATE", "a map of {}.")
    trainer = make("MMRL", *pairs)
    trainer.train()
    file = PromptFile.read(tmp_path / FILE_NAME)
    for names, share in ((file.classnames, 0.7), (file.classnames[:3], 0.7), (("a heron", "River"), 1)):
        model = build_model(file, load(weights["narrow"]), names)
        assert model.prompt_learner.share == share
        if names == file.classnames:
            torch.testing.assert_close(model(IMAGES), trainer.model_inference(IMAGES), rtol=1e-4, atol=1e-3)
        if share == 1:
            features, _ = model.both_features(IMAGES)
            torch.testing.assert_close(model(IMAGES), model.logits(features, model.text_features()))
