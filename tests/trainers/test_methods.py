"""What holds for every method: what is learned moves and nothing else, what is saved comes back, what is cached dies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY
from dassl.utils import load_checkpoint
from reporting.runs import read_run
from sweeps.protocols import concerns
from tests.trainers.small_runs import METHODS, NODES, REGISTERED, SIZES, build
from trainers.base import PromptTrainer

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([0, 1, 2, 4])
BATCH = {"img": IMAGES, "label": LABELS, "domain": torch.zeros(4)}


def step(trainer) -> dict:
    """One training step outside of an epoch's loop."""
    trainer.num_batches, trainer.batch_idx = 10, 0
    return trainer.forward_backward(BATCH)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_moves_every_declared_parameter_and_nothing_else(
    method: str, size: str, eurosat: Path, weights: dict, tmp_path: Path
) -> None:
    trainer = build(method, eurosat, weights[size], tmp_path, "OPTIM.WARMUP_EPOCH", -1)
    learned = {id(p) for _, p in trainer.learned.named_parameters()}
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()} | {
        k: p.detach().clone() for k, p in trainer.model.named_parameters()
    }
    assert {id(p) for p in trainer.model.parameters() if p.requires_grad} == learned
    assert {id(p) for group in trainer.optim.param_groups for p in group["params"]} == learned
    step(trainer)
    step(trainer)  # CoCoOp's first layer moves once its second, which starts the shift, has
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]) != (id(parameter) in learned), name
        assert parameter.dtype == torch.float32
    for name, buffer in trainer.model.named_buffers():
        assert name not in before or torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_logits_do_not_depend_on_the_mode_and_equal_the_inference(method: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build(method, eurosat, weights["narrow"], tmp_path)
    trainer.model.train()
    in_train = trainer.model(IMAGES)
    trainer.model.eval()
    torch.testing.assert_close(trainer.model(IMAGES), in_train)
    torch.testing.assert_close(trainer.model_inference(IMAGES), in_train.detach(), rtol=1e-4, atol=1e-4)
    assert in_train.requires_grad
    assert in_train.shape == (4, 5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["step", "data", "load"])
def test_a_changed_prompt_changes_the_inference(method: str, how: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build(method, eurosat, weights["narrow"], tmp_path, "OPTIM.WARMUP_EPOCH", -1)
    before = trainer.model_inference(IMAGES)
    if how == "step":
        step(trainer)
    elif how == "data":
        next(iter(trainer.learned.parameters())).data.add_(torch.randn_like(next(iter(trainer.learned.parameters()))))
    else:
        trainer.learned.load_state_dict({k: v + torch.randn_like(v) for k, v in trainer.learned.state_dict().items()})
    after = trainer.model_inference(IMAGES)
    torch.testing.assert_close(after, trainer.model(IMAGES).detach(), rtol=1e-4, atol=1e-4)
    assert (after - before).abs().max() > 1e-4


@pytest.mark.parametrize("method", [m for m in METHODS if m != "CoCoOp"])
def test_text_is_encoded_once_an_evaluation(method: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build(method, eurosat, weights["narrow"], tmp_path, "DATALOADER.TEST.BATCH_SIZE", 2)
    calls = []
    trainer.model.clip.transformer.register_forward_hook(lambda *_: calls.append(1))
    trainer.test()
    assert len(trainer.test_loader) > 1
    assert len(calls) == 1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_are_the_learned_keys_and_they_come_back(method: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build(method, eurosat, weights["narrow"], tmp_path / "a", "OPTIM.WARMUP_EPOCH", -1)
    step(trainer)
    trainer.save_model(4, str(tmp_path / "a"))
    path = tmp_path / "a" / trainer.checkpoint_name / "model.pth.tar-5"
    saved = load_checkpoint(str(path))
    assert list(saved["state_dict"]) == [name for name, _ in trainer.learned.named_parameters()]
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= saved.keys()
    other = build(method, eurosat, weights["narrow"], tmp_path / "b")
    assert not torch.equal(other.model(IMAGES), trainer.model(IMAGES))
    other.load_model(str(tmp_path / "a"), epoch=5)
    assert torch.equal(other.model(IMAGES), trainer.model(IMAGES))


@pytest.mark.parametrize("method", METHODS)
def test_the_fast_paths_change_no_logit_and_no_gradient(method: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    slow = [v for key in ("CACHE_TEXT",) for v in (f"SPEED.{key}", False)]
    found = []
    for pairs in ([], slow):
        trainer = build(method, eurosat, weights["narrow"], tmp_path / str(len(pairs)), *pairs)
        batch = next(iter(trainer.train_loader_x))
        loss = trainer.loss(*trainer.parse_batch_train(batch))
        loss.backward()
        found.append([trainer.model_inference(batch["img"]), loss.detach(), *(p.grad for p in trainer.learned.parameters())])
    for fast, plain in zip(*found, strict=True):  # float32, another order of summation
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5 * max(1.0, float(plain.abs().max())))


@pytest.mark.parametrize("is_kept", [True, False])
def test_class_prompts_without_anything_learned_are_encoded_once(
    is_kept: bool, eurosat: Path, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build("VPT", eurosat, weights["narrow"], tmp_path, "SPEED.CACHE_TEXT", is_kept)
    n_encoded, encode = [0], trainer.model.encode_text_prompts

    def counted(text):
        n_encoded[0] += 1
        return encode(text)

    monkeypatch.setattr(trainer.model, "encode_text_prompts", counted)
    with torch.inference_mode():
        trainer.model(IMAGES)
    for _ in range(2):
        step(trainer)
    assert n_encoded[0] == (1 if is_kept else 3)
    plain = encode(trainer.model.prompt_learner.text())
    assert torch.equal(trainer.model.text_features(), plain)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prec", ["fp16", "bf16", "amp", "fp32"])
def test_each_precision_trains_a_step_on_the_cpu(method: str, prec: str, eurosat: Path, weights: dict, tmp_path: Path, capsys) -> None:
    trainer = build(method, eurosat, weights["narrow"], tmp_path, f"TRAINER.{NODES[method]}.PREC", prec, "OPTIM.WARMUP_EPOCH", -1)
    plain = build(method, eurosat, weights["narrow"], tmp_path, "OPTIM.WARMUP_EPOCH", -1)
    plain.learned.load_state_dict(trainer.learned.state_dict())
    loss, expected = step(trainer)["loss"], step(plain)["loss"]
    torch.testing.assert_close(loss.float(), expected, rtol=0.05, atol=0.05)  # bfloat16 keeps 8 bits, and logits are of the order of 10
    assert all(p.dtype == torch.float32 for p in trainer.learned.parameters())
    if prec == "fp16":
        assert capsys.readouterr().out.count("PREC fp16 is not served by the device 'cpu' (float16 is for GPUs): computing in fp32") == 1


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prec", ["fp16", "bf16", "amp", "fp32"])
def test_each_precision_is_right_on_the_gpu(method: str, prec: str, eurosat: Path, weights: dict, tmp_path: Path) -> None:
    """Logits and gradients of each precision are near those of float32 on the CPU, and training lowers the loss."""
    pairs = ["OPTIM.WARMUP_EPOCH", -1]
    trainer = build(method, eurosat, weights["wide"], tmp_path, *pairs, f"TRAINER.{NODES[method]}.PREC", prec, "USE_CUDA", True)
    plain = build(method, eurosat, weights["wide"], tmp_path, *pairs)
    assert trainer.device.type == "cuda"
    plain.learned.load_state_dict({k: v.cpu() for k, v in trainer.learned.state_dict().items()})
    gradients = []
    for t in (trainer, plain):
        loss = t.loss(IMAGES.to(t.device), LABELS.to(t.device))
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in t.learned.parameters()]))
        t.optim.zero_grad()
    torch.testing.assert_close(trainer.model(IMAGES.cuda()).float().cpu(), plain.model(IMAGES), rtol=0.05, atol=0.2)
    assert F.cosine_similarity(gradients[0], gradients[1], dim=0) > (0.9999 if prec == "fp32" else 0.97)
    losses = [float(step(trainer)["loss"]) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_an_unknown_precision_is_refused(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"TRAINER.MPL.PREC is 'fp8'; it must be one of fp16, bf16, amp, fp32"):
        build("MPL", eurosat, weights["narrow"], tmp_path, "TRAINER.MPL.PREC", "fp8")


@pytest.mark.parametrize("method", METHODS)
def test_training_runs_to_the_end(method: str, eurosat: Path, weights: dict, tmp_path: Path, capsys) -> None:
    build(method, eurosat, weights["narrow"], tmp_path).train()
    out = capsys.readouterr().out
    for line in ("Finish training", "Deploy the last-epoch model", "* total: 15", "* accuracy: ", "Trainable parameters: "):
        assert line in out
    assert (tmp_path / "result.json").exists()


def test_init_weights_are_taken(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    first = build("MPL", eurosat, weights["narrow"], tmp_path / "a")
    first.save_model(0, str(tmp_path / "a"))
    path = tmp_path / "a" / first.checkpoint_name / "model.pth.tar-1"
    second = build("MPL", eurosat, weights["narrow"], tmp_path / "b", "MODEL.INIT_WEIGHTS", str(path), "SEED", 2)
    assert torch.equal(first.model.prompt_learner.ctx, second.model.prompt_learner.ctx)
    assert all(torch.equal(a, b) for a, b in zip(first.learned.parameters(), second.learned.parameters(), strict=True))


def test_zero_shot_has_nothing_to_train(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    trainer = build("ZeroshotCLIP", eurosat, weights["narrow"], tmp_path)
    with pytest.raises(ValueError, match="add --eval-only"):
        trainer.train()
    assert not any(p.requires_grad for p in trainer.model.parameters())


def test_the_ensemble_is_the_mean_of_its_templates(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    import clip

    trainer = build("ZeroshotCLIP2", eurosat, weights["narrow"], tmp_path)
    names = trainer.dm.dataset.classnames
    assert len(trainer.templates()) == 8
    features = []
    for template in trainer.templates():
        tokens = clip.tokenize([template.format(name) for name in names], 32)
        features.append(F.normalize(trainer.model.clip.encode_text(tokens), dim=-1))
    expected = F.normalize(sum(features) / 8, dim=-1)
    torch.testing.assert_close(trainer.model.text_features(), expected, rtol=1e-4, atol=1e-5)


def test_a_method_whose_file_declares_no_settings_is_refused(eurosat: Path, weights: dict, tmp_path: Path, monkeypatch) -> None:
    class Next(PromptTrainer):
        """A method before its extend_cfg is written."""

    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "Next", Next)
    with pytest.raises(ValueError, match=r"Next has no TRAINER.NEXT.PREC: extend_cfg\(cfg\) in its file declares its settings, as"):
        build("Next", eurosat, weights["narrow"], tmp_path)


def test_a_variant_of_a_method_is_configured_by_its_node(eurosat: Path, weights: dict, tmp_path: Path, monkeypatch) -> None:
    """A subclass with a loss of its own, say; its settings are part of what its run is."""

    class Variant(REGISTERED["MPL"]):
        """MPL, and something else."""

    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "Variant", Variant)
    pairs = ("TRAINER.MPL.PREC", "fp32", "TRAINER.MPL.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 1)
    trainer = build("Variant", eurosat, weights["narrow"], tmp_path, *pairs)
    trainer.train()
    assert trainer.run_identity()["method"]["PROMPT_DEPTH"] == 3
    assert read_run(tmp_path).settings["TRAINER.MPL.PROMPT_DEPTH"] == 3
    assert [concerns(f"TRAINER.{node}.N_CTX", "Variant") for node in ("MPL", "MAPLE", "VARIANT")] == [True, False, True]
    with pytest.raises(ValueError, match="method PROMPT_DEPTH: saved 3, now 2"):
        build("Variant", eurosat, weights["narrow"], tmp_path, *pairs, "TRAINER.MPL.PROMPT_DEPTH", 2).train()
