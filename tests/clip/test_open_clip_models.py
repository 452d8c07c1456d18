"""Names of open_clip's: every one is either our towers' or refused with its reason, and what loads equals open_clip's own model."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file

import clip
from clip import open_clip_models
from clip.archive import WeightsFileError
from clip.model import CLIP
from clip.open_clip_models import UnsupportedModelError, clip_config, reasons_against, resolve

# The families of open_clip's models that our towers are not; all others they must be.
OTHERS = re.compile(
    r"coca|convnext|EVA|MobileCLIP|mt5|nllb|PE-Core|roberta|swin|SigLIP|_gap_|_relpos_|ViTamin|CLIPA|worldwide|xlm|ViT-M-16-alt",
    re.IGNORECASE,
)
MODELS = open_clip.list_models()
OURS = [m for m in MODELS if not OTHERS.search(m)]
SMALL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 96, "head_width": 48, "mlp_ratio": 2.511, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2, "mlp_ratio": 3},
}


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


def test_every_model_is_ours_or_refused_with_its_reason() -> None:
    assert len(OURS) >= 41
    assert len(MODELS) - len(OURS) >= 100
    for model in MODELS:
        reasons = reasons_against(open_clip.get_model_config(model))
        assert bool(reasons) == (model not in OURS), (model, reasons)
        assert not any("does not know" in reason for reason in reasons), (model, reasons)


@pytest.mark.parametrize("model", OURS)
def test_a_model_has_open_clips_parameters_heads_and_activation(model: str) -> None:
    model_cfg = open_clip.get_model_config(model)
    with torch.device("meta"):
        ours, theirs = CLIP(clip_config(model_cfg, bool(model_cfg.get("quick_gelu")), model)), open_clip.CLIP(**model_cfg)
    assert shapes(ours) == shapes(theirs)
    assert ours.transformer.resblocks[0].attn.n_heads == theirs.transformer.resblocks[0].attn.num_heads
    if ours.config.has_vit:
        block, their_block = ours.visual.transformer.resblocks[0], theirs.visual.transformer.resblocks[0]
        assert block.attn.n_heads == their_block.attn.num_heads
        assert type(block.mlp.gelu).__name__ == type(their_block.mlp.gelu).__name__
        assert (ours.visual.image_size,) * 2 == theirs.visual.image_size
    else:
        assert ours.visual.attnpool.n_heads == theirs.visual.attnpool.num_heads
        assert ours.visual.image_size == theirs.visual.image_size


def test_every_published_name_resolves_or_is_refused() -> None:
    resolved, refused = [], []
    for model, tag in open_clip.list_pretrained():
        name = f"open_clip:{model}/{tag}"
        if model in OURS:
            weights = resolve(name)
            assert weights.config.quick_gelu == _PRETRAINED[model][tag].get("quick_gelu", False), name
            assert weights.sources(), name
            resolved.append(name)
        else:
            with pytest.raises(UnsupportedModelError, match=rf"^MODEL\.BACKBONE\.NAME {re.escape(name)} is no plain CLIP, .*_cfg"):
                resolve(name)
            refused.append(name)
    assert len(resolved) >= 96
    assert len(refused) >= 100
    assert "open_clip:ViT-B-16/laion2b_s34b_b88k" in resolved


@pytest.mark.parametrize(("cls", "sizes", "fixed"), [
    (CLIPVisionCfg, open_clip_models.VISION_SIZES, open_clip_models.VISION_FIXED),
    (CLIPTextCfg, open_clip_models.TEXT_SIZES, open_clip_models.TEXT_FIXED),
])  # fmt: skip
def test_every_setting_of_open_clips_is_known_with_its_default(cls: type, sizes: dict, fixed: dict) -> None:
    fields = {f.name: f.default for f in dataclasses.fields(cls)}
    assert len(fields) > 25
    for name, default in fields.items():
        if name in fixed:
            assert fixed[name][0] == default, name
        elif name in sizes:
            assert sizes[name] == default, name
        else:
            assert name in open_clip_models.IGNORED or name.startswith(open_clip_models.IGNORED_PREFIXES), name


@pytest.mark.parametrize(("place", "key", "value"), [
    ("vision_cfg", "ls_init_value", 1e-4),
    ("vision_cfg", "attentional_pool", True),
    ("vision_cfg", "no_ln_pre", True),
    ("vision_cfg", "pos_embed_type", "sin_cos_2d"),
    ("vision_cfg", "pool_type", "avg"),
    ("vision_cfg", "qk_norm", True),
    ("vision_cfg", "made_up_later", 3),
    ("vision_cfg", "image_size", [224, 336]),
    ("text_cfg", "pool_type", "eos"),
    ("text_cfg", "proj_type", "none"),
    ("text_cfg", "no_causal_mask", True),
    ("text_cfg", "vocab_size", 32000),
    ("text_cfg", "act_kwargs", {"approximate": "tanh"}),
    ("", "init_logit_bias", -10),
    ("", "multimodal_cfg", {"layers": 12}),
])  # fmt: skip
def test_a_setting_that_our_towers_do_not_have_is_refused_by_name(place: str, key: str, value: Any) -> None:
    model_cfg = copy.deepcopy(SMALL)
    (model_cfg[place] if place else model_cfg)[key] = value
    with pytest.raises(UnsupportedModelError, match=rf"^a name is no plain CLIP.*: {place}\.?{key} is {re.escape(repr(value))} \(\w+"):
        clip_config(model_cfg, False, "a name")


def test_settings_that_change_nothing_are_taken() -> None:
    model_cfg = copy.deepcopy(SMALL)
    model_cfg["vision_cfg"] |= {"patch_dropout": 0.5, "attentional_pool": False, "image_size": [32, 32]}
    model_cfg["text_cfg"] |= {"eos_id": 3, "no_causal_mask": False}
    assert clip_config(model_cfg, False, "a name") == clip_config(SMALL, False, "a name")


# Loading, from files of each format


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> open_clip.CLIP:
    """open_clip's model of the configuration SMALL, which open_clip knows by the name ``Small-ViT``."""
    monkeypatch.setitem(_MODEL_CONFIGS, "Small-ViT", SMALL)
    torch.manual_seed(0)
    return open_clip.CLIP(**SMALL).eval()


def register(monkeypatch: pytest.MonkeyPatch, file: Path, **facts: Any) -> str:
    """Let open_clip know ``file`` as weights of Small-ViT."""
    monkeypatch.setitem(_PRETRAINED, "Small-ViT", {"local": {"file": str(file), **facts}, "laion2b_s34b": {}, "laion400m_e32": {}})
    return "open_clip:Small-ViT/local"


def assert_same_features(ours: CLIP, theirs: open_clip.CLIP) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = clip.tokenize(["a photo of a cat.", "X", "many red birds"], context_length=20)
    with torch.no_grad():  # float32 on both sides, another order of summation
        torch.testing.assert_close(ours.encode_image(images), theirs.encode_image(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.encode_text(tokens), theirs.encode_text(tokens), rtol=1e-4, atol=1e-5)
    assert ours.logit_scale.shape == ()


@pytest.mark.parametrize("kind", ["plain", "wrapped", "safetensors", "scale in a list"])
def test_a_name_loads_to_open_clips_features(kind: str, theirs: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = theirs.state_dict(), tmp_path / "weights.pt"
    if kind == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    else:
        if kind == "wrapped":
            state = {"epoch": 3, "name": "a run", "state_dict": {f"module.{k}": v for k, v in state.items()}}
        elif kind == "scale in a list":
            state = {**state, "logit_scale": state["logit_scale"].reshape(1)}
        torch.save(state, path)
    assert_same_features(clip.load(register(monkeypatch, path)), theirs)


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_path_loads_with_the_configuration_beside_it(quick_gelu: bool, file: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = open_clip.CLIP(**SMALL, quick_gelu=quick_gelu).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**SMALL, "quick_gelu": quick_gelu}, "preprocess_cfg": {}}))
    path = tmp_path / file
    if file.endswith("bin"):
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    assert_same_features(clip.load(path), theirs)


def test_a_configuration_beside_the_file_is_held_against_it(theirs: open_clip.CLIP, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "ls_init_value": 0.1}}}))
    with pytest.raises(UnsupportedModelError, match=rf"^{re.escape(str(config))} is no plain CLIP.*vision_cfg\.ls_init_value is 0\.1"):
        clip.load(tmp_path / "weights.pt")
    config.write_text(json.dumps({"model_cfg": {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "layers": 3, "mlp_ratio": 4}}}))
    with pytest.raises(WeightsFileError, match=r"json: vision_layers is 2, not 3; vision_mlp_width is 241, not None"):
        clip.load(tmp_path / "weights.pt")


def test_heads_that_nothing_says_are_not_guessed(theirs: open_clip.CLIP, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        WeightsFileError, match=r"shapes do not show the number of attention heads: put their open_clip_config\.json beside"
    ):
        clip.load(tmp_path / "weights.pt")


def test_an_activation_that_nothing_says_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    torch.save(
        open_clip.CLIP(32, {"layers": 1, "width": 64, "image_size": 32}, {**SMALL["text_cfg"], "mlp_ratio": 4}).state_dict(),
        tmp_path / "w.pt",
    )
    clip.load(tmp_path / "w.pt")
    assert "w.pt does not say its activation: QuickGELU and heads of 64 channels are taken" in capsys.readouterr().out


def test_other_pictures_and_another_activation_are_told(
    theirs: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(theirs.state_dict(), path)
    name = register(monkeypatch, path, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 0.5), quick_gelu=True, resize_mode="squash")
    assert clip.load(name).config.quick_gelu
    told = capsys.readouterr().out
    assert "set INPUT.PIXEL_MEAN to [0.5, 0.5, 0.5] and INPUT.PIXEL_STD to [0.25, 0.5, 0.5]" in told
    assert f"{name} was trained with QuickGELU, which is used" in told
    assert "pressed into a square (squash)" in told
    clip.load(register(monkeypatch, path))
    assert capsys.readouterr().out == ""


def test_weights_of_another_model_are_refused(theirs: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_clip.CLIP(**{**SMALL, "embed_dim": 16})
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(WeightsFileError, match=r"does not hold open_clip:Small-ViT/local: embed_dim is 16, not 32\. Delete it"):
        clip.load(register(monkeypatch, tmp_path / "weights.pt"))


@pytest.mark.parametrize(("name", "message"), [
    ("open_clip:ViT-B16/laion2b_s34b_b88k", r"open_clip has no model 'ViT-B16'\. Nearest: .*ViT-B-16"),
    ("open_clip:ViT-B-16/laion2b_s34b", r"no weights 'laion2b_s34b' of ViT-B-16\. Nearest: laion2b_s34b_b88k.*the weights of ViT-B-16: openai, "),
    ("open_clip:ViT-B-16", r"no weights '' of ViT-B-16\. .*Write open_clip:<model>/<weights>; the weights of ViT-B-16: openai"),
    ("open_clip:ViT-M-16/openai", r"the weights of ViT-M-16: none"),
    ("open_clip:", r"open_clip has no model ''\. Nearest: "),
    ("open_clip:ViT-B-16-SigLIP/webli", r"is no plain CLIP.*timm_model_name is 'vit_base_patch16_siglip_224' \(an image tower of timm\)"),
    ("open_clip:coca_ViT-B-32/laion2b_s13b_b90k", r"multimodal_cfg is .* \(CoCa, which has a third tower\)"),
    ("open_clip:roberta-ViT-B-32/laion2b_s12b_b32k", r"hf_model_name is 'roberta-base' \(a text tower of Hugging Face's transformers\)"),
])  # fmt: skip
def test_wrong_names_say_what_is_accepted(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip.load(name)


def test_names_are_written_as_in_open_clip() -> None:
    assert resolve("open_clip:ViT-B/16/openai").config == resolve("open_clip:ViT-B-16/openai").config
    assert resolve("open_clip:ViT-B-16/OpenAI").facts == resolve("open_clip:ViT-B-16/openai").facts


def test_without_open_clip_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)  # an import of it fails
    with pytest.raises(ValueError, match=r"pip install 'open_clip_torch>=2\.29'"):
        clip.load("open_clip:ViT-B-16/openai")
