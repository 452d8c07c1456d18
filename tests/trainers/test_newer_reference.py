"""The methods of 2022 to 2025 agree with recorded figures of their published code.

NEWER_METHODS names another file of the form of tests/reference/newer_methods.json. Its cases are found in it,
and one of an unknown method fails. What a method records beyond the others is checked by `MORE`.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dassl.engine import TRAINER_REGISTRY
from tests.reference.recorded import array, close, learned_by_name, pictures, same_tokens, trainer_of

DEFAULT_FILE = Path(__file__).parents[1] / "reference" / "newer_methods.json"
REFERENCE = json.loads(Path(os.environ.get("NEWER_METHODS", DEFAULT_FILE)).read_text())
CASES, SEED, SIZE = REFERENCE["cases"], REFERENCE["seed"], REFERENCE["architecture"]["res"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CLIP of the file, as a plain state dict."""
    path = tmp_path_factory.mktemp("newer") / "reference.pt"
    torch.save({key: array(key, shape, SEED) for key, shape in REFERENCE["state_shapes"].items()}, path)
    return path


def pictures_of(case: dict, seed: int = SEED + 1000) -> Tensor:
    return pictures(len(case["labels"]), SIZE, seed)


def batch_of(case: dict) -> dict[str, Any]:
    """What the data loader gives: the pictures, of CoPrompt in two views, and the labels."""
    images: Any = pictures_of(case)
    if "sentences" in case:
        images = [images, pictures_of(case, SEED + 2000)]
    return {"img": images, "label": torch.tensor(case["labels"])}


def settings_of(case: dict, trainer: Any, output: Path) -> dict[str, Any]:
    """The recorded settings with their full keys."""
    node, settings = trainer.settings_node, dict(case.get("other_config", {}))
    if case["method"] == "dept":  # the base's own settings tell it
        base = {"PROMPT_DEPTH": "MaPLe", "W": "KgCoOp", "CSC": "CoOp"}
        settings["TRAINER.DEPT.BASE"] = name = next(base[key] for key in base if key in case["config"])
        node = TRAINER_REGISTRY.get(name).settings_node
    if "sentences" in case:
        output.joinpath("sentences.json").write_text(json.dumps(case["sentences"]))
        settings["TRAINER.CoPrompt.SENTENCES"] = str(output / "sentences.json")
    return settings | {f"TRAINER.{node}.{key}": value for key, value in case["config"].items()}


def first4(rows: Tensor) -> Tensor:
    return rows.detach().reshape(-1, rows.shape[-1])[:, :4]


def check_prograd(trainer: Any, case: dict) -> None:
    model, (images, labels) = trainer.model, trainer.parse_batch_train(batch_of(case))
    close(
        model.logits(model.frozen_image_features(images), model.frozen_text_features()), case["frozen_logits"]
    )
    for name, (_, term) in trainer.loss_terms(images, labels).items():
        gradient = torch.autograd.grad(term, model.prompt_learner.ctx, retain_graph=True)[0].norm()
        close(gradient, case[f"grad_norm_of_{name}"], rtol=1e-3)


def check_promptsrc(trainer: Any, case: dict) -> None:
    close(trainer.epoch_weights, case["epoch_weights_20_15_1"], atol=1e-12)


def check_mmrl(trainer: Any, case: dict) -> None:
    """The logits of either feature, of which `model(images)` gives the sum in their shares."""
    model = trainer.model
    with torch.no_grad():
        for features, recorded in zip(
            model.both_features(batch_of(case)["img"]), ("logits_class", "logits_rep"), strict=True
        ):
            close(model.logits(features, model.text_features()), case[recorded])


def check_coprompt(trainer: Any, case: dict) -> None:
    """The frozen features of every sentence; the recorded numbers are drawn from then on."""
    for number, recorded in enumerate(case["sentence_features_first4"]):
        trainer.take_sentence(number)
        close(first4(trainer.model.frozen_text_features()), recorded, atol=1e-5)
    numbers = iter(case["sentence_of_each_step"])
    trainer.draw_sentence = lambda: next(numbers)
    trainer.take_sentence(case["sentence_of_each_step"][0])


def check_dept(trainer: Any, case: dict) -> None:
    """The two parts of the logits, and the learning rates."""
    model, images = trainer.model, pictures_of(case)
    with torch.no_grad():
        features, class_features = model.encode_image(images), model.class_features()
        close(model.head_logits(features, class_features), case["logits_linear"])
        model.knows_classes = False
        close(model(images), case["logits_similarity"])
    model.knows_classes = True
    rates = [group["lr"] for group in trainer.optim.param_groups]
    assert rates == pytest.approx(list(case["learning_rates"].values()))


MORE: dict[str, Callable[[Any, dict], None]] = {  # method -> what else is compared before the steps
    "mmrl": check_mmrl,
    "prograd": check_prograd,
    "coprompt": check_coprompt,
    "dept": check_dept,
    "promptsrc": check_promptsrc,
}


@pytest.mark.parametrize("name", CASES)
def test_recorded_figures(name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    registered = {name.lower(): TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}
    method = registered[case["method"]]
    settings = {
        "DATASET.NAME": case["dataset"],
        "DATASET.SUBSAMPLE_CLASSES": "base",
        "MODEL.BACKBONE.NAME": str(weights),
        "INPUT.SIZE": (SIZE, SIZE),
        "OUTPUT_DIR": str(tmp_path),
        **settings_of(case, method, tmp_path),
    }
    trainer = trainer_of(method.__name__, case["classnames"], settings, monkeypatch)
    model, batch, images = trainer.model, batch_of(case), pictures_of(case)
    same_tokens(model.prompt_learner.prompt_tokens(), case["tokens"])
    trainable = {
        key: shape for key, shape in case["trainable"].items() if key not in case.get("no_gradient", ())
    }
    learned = learned_by_name(trainer, trainable)
    for key, recorded in case.get("initial_first4", {}).items():
        close(first4(learned[key])[: len(recorded)], recorded, atol=1e-6)
    for key, parameter in learned.items():
        parameter.data = array(key, parameter.shape, SEED)

    if "frozen_texts" in case:
        assert [list(texts) for texts in model.prompt_learner.frozen_texts] == [case["frozen_texts"]]
    if "frozen_text_features_first4" in case:
        close(first4(model.frozen_text_features()), case["frozen_text_features_first4"], atol=1e-5)
    model.eval()
    with torch.no_grad():
        close(model(images), case["logits"])
    if case["method"] in MORE:
        MORE[case["method"]](trainer, case)

    trainer.set_model_mode("train")
    terms = trainer.loss_terms(*trainer.parse_batch_train(batch))
    assert terms.keys() == case["loss_terms"].keys()
    for key, recorded in case["loss_terms"].items():
        close(terms[key][1], recorded, atol=1e-5)
    for step, recorded in enumerate(case["sgd_losses"]):
        losses = trainer.forward_backward(batch)
        close(losses["loss"], recorded, rtol=1e-3)
        if "sgd_kl_loss" in case:
            close(losses["kl_loss"], case["sgd_kl_loss"][step], rtol=1e-3)
        if step == 0:
            for key, norm in case["grad_norm"].items():
                close(learned[key].grad.norm(), norm, rtol=1e-3)
    for key in learned:
        close(learned[key].norm(), case["param_norm_after_sgd"][key])
    model.eval()
    with torch.no_grad():
        close(model(images), case["logits_after_sgd"], rtol=1e-3, atol=1e-3)
