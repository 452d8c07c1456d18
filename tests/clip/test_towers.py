"""The towers equal open_clip's and the recorded figures; prompts change what they should and nothing else."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from check import array
from torch.nn import functional as F

import clip
from clip import CLIP, CLIPConfig
from clip.model import QuickGELU
from clip.prompt_ops import LayerPrompts, PromptSchedule
from clip.weights import build

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
ARCHITECTURES = {
    "vit": ({"layers": 3, "width": 128, "head_width": 64, "patch_size": 8, "image_size": 32}, True),
    "vit_gelu": ({"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 48}, False),
    "resnet": ({"layers": [1, 2, 1, 1], "width": 16, "head_width": 64, "image_size": 64}, True),
}


@pytest.fixture(params=ARCHITECTURES)
def pair(request: pytest.FixtureRequest, tmp_path) -> tuple[CLIP, torch.nn.Module]:
    """The same random weights in our CLIP and in open_clip's."""
    vision, quick_gelu = ARCHITECTURES[request.param]
    torch.manual_seed(0)
    theirs = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=TEXT, quick_gelu=quick_gelu).eval()
    state = {k: v.clone() for k, v in theirs.state_dict().items()}
    config = tmp_path / "open_clip_config.json"
    config.write_text(open_clip_config(vision, quick_gelu))
    return build(state, tmp_path / "open_clip_model.safetensors"), theirs


def open_clip_config(vision: dict, quick_gelu: bool) -> str:
    """The file that the hub's folders hold beside the weights."""
    import json

    return json.dumps({"model_cfg": {"embed_dim": 32, "quick_gelu": quick_gelu, "vision_cfg": vision, "text_cfg": TEXT}})


def test_features_and_gradients_equal_open_clips(pair: tuple[CLIP, torch.nn.Module]) -> None:
    ours, theirs = pair
    size = ours.visual.image_size
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    tokens = clip.tokenize(["a photo of a cat.", "X", "a long text about many red birds"], context_length=20)
    gradients = []
    for model in (ours, theirs):
        model.zero_grad()
        pictures = images.clone().requires_grad_(True)
        loss = F.cross_entropy(
            F.normalize(model.encode_image(pictures), dim=-1) @ F.normalize(model.encode_text(tokens), dim=-1).T, torch.arange(3)
        )
        loss.backward()
        gradients.append({"pictures": pictures.grad} | {k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    # float32 on both sides, another order of summation: 1e-5 of the largest entry
    torch.testing.assert_close(ours.encode_image(images), theirs.encode_image(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.encode_text(tokens), theirs.encode_text(tokens), rtol=1e-4, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 20
    largest = max(float(g.abs().max()) for g in gradients[1].values())
    for name, gradient in gradients[1].items():  # the gradient of a key's bias is 0 but for rounding: hence the floor
        atol = 1e-4 * float(gradient.abs().max()) + 1e-7 * largest
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-3, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def test_recorded_resnet(reference: dict, tmp_path) -> None:
    case = reference["cases"]["clip_resnet"]
    path = tmp_path / "resnet.pt"
    torch.save({k: array(k, shape, reference["seed"]) for k, shape in case["state_shapes"].items()}, path)
    model = clip.load(path)
    images = np.random.RandomState(reference["seed"] + 1000).standard_normal((3, 3, 64, 64)).astype(np.float32)
    texts = [f"a photo of a {name.replace('_', ' ')}." for name in case["classnames"]]
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(torch.from_numpy(images)), torch.tensor(case["image_features"]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.encode_text(clip.tokenize(texts)), torch.tensor(case["text_features"]), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def vit() -> CLIP:
    torch.manual_seed(0)
    return CLIP(CLIPConfig(32, 32, 3, 128, 8, 20, 49408, 64, 3)).eval()


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_a_schedule_without_prompts_is_plain_clip(vit: CLIP) -> None:
    nothing = LayerPrompts(PromptSchedule(3, 0), [])
    tokens = clip.tokenize(["a cat", "two dogs"], 20)
    assert torch.equal(vit.encode_image(IMAGES, nothing), vit.encode_image(IMAGES))
    features = vit.encode_embedded_text(vit.embed_tokens(tokens), tokens.argmax(-1), LayerPrompts(PromptSchedule(3, 0), []))
    torch.testing.assert_close(features, vit.encode_text(tokens))


def test_prompts_removed_before_the_deeper_layers_leave_the_length_as_it_was(vit: CLIP) -> None:
    lengths = []
    hooks = [b.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1])) for b in vit.visual.transformer.resblocks]
    vit.encode_image(IMAGES, LayerPrompts(PromptSchedule(3, 2, [3, 0], [1, 4]), [torch.zeros(2, 128), torch.zeros(3, 128)]))
    for hook in hooks:
        hook.remove()
    assert lengths == [1 + 16 + 2, 1 + 16 + 4, 1 + 16 + 0]


def test_prompts_of_the_vision_tower_do_not_depend_on_their_order(vit: CLIP) -> None:
    """Vision prompts have no position, so that where they stand among themselves changes nothing; where they are added does."""
    prompts = torch.randn(2, 128, generator=torch.Generator().manual_seed(5))
    schedule = PromptSchedule(3, 2)
    features = vit.encode_image(IMAGES, LayerPrompts(schedule, [prompts]))
    torch.testing.assert_close(features, vit.encode_image(IMAGES, LayerPrompts(schedule, [prompts.flip(0)])))
    deeper = vit.encode_image(IMAGES, LayerPrompts(PromptSchedule(3, 0, [2]), [None, prompts]))
    assert (features - deeper).abs().max() > 1e-3


def test_text_prompts_that_are_carried_shift_the_end_mark(vit: CLIP) -> None:
    tokens = clip.tokenize(["X a cat", "X two big dogs"], 20)
    embedded, end = vit.embed_tokens(tokens), tokens.argmax(-1)
    added = torch.randn(1, 64, generator=torch.Generator().manual_seed(5))
    prompts = LayerPrompts(PromptSchedule(3, 1, [1, 1], [0, 1]), [embedded[0, 1:2], added, added])
    together = vit.encode_embedded_text(embedded, end, prompts)
    for i in range(2):  # one text alone, cut after its own end
        alone = vit.encode_embedded_text(embedded[i : i + 1, : end[i] + 1], end[i : i + 1], prompts)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_positions_after_the_end_change_nothing(vit: CLIP) -> None:
    tokens = clip.tokenize(["a cat", "two dogs"], 20)
    full = vit.encode_embedded_text(vit.embed_tokens(tokens), tokens.argmax(-1))
    torch.testing.assert_close(full, vit.encode_text(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_towers_are_near_float32(vit: CLIP, dtype: torch.dtype) -> None:
    import copy

    small = copy.deepcopy(vit).set_compute_dtype(dtype)
    assert small.dtype == dtype
    assert small.ln_final.weight.dtype == small.token_embedding.weight.dtype == torch.float32
    tokens = clip.tokenize(["a cat", "two dogs"], 20)
    with torch.no_grad():
        for a, b in ((vit.encode_image(IMAGES), small.encode_image(IMAGES)), (vit.encode_text(tokens), small.encode_text(tokens))):
            assert F.cosine_similarity(a, b.float()).min() > 0.999  # bfloat16 keeps 8 bits: errors of 2^-8 that average out over the width


def test_wrong_use_is_named(vit: CLIP) -> None:
    with pytest.raises(ValueError, match=r"shape \[B, 3, 32, 32\]; received \[1, 3, 48, 48\]. Set INPUT.SIZE"):
        vit.encode_image(torch.zeros(1, 3, 48, 48))
    with pytest.raises(ValueError, match="schedule for 5 layers was given to a transformer of 3"):
        vit.encode_image(IMAGES, LayerPrompts(PromptSchedule(5, 0), []))
    resnet = CLIP(CLIPConfig(32, 64, (1, 1, 1, 1), 16, None, 20, 49408, 64, 2)).eval()
    with pytest.raises(ValueError, match="ResNet has no token sequence"):
        resnet.encode_image(torch.zeros(1, 3, 64, 64), LayerPrompts(PromptSchedule(3, 0), []))
    with pytest.raises(ValueError, match="width 100, no multiple of 64"):
        CLIP(CLIPConfig(32, 32, 3, 100, 8, 20, 49408, 64, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quick_gelu_is_its_formula_in_values_and_gradients_and_keeps_one_tensor(dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, 999, dtype=dtype, requires_grad=True)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        y = QuickGELU()(x)
    expected = x * torch.sigmoid(1.702 * x)
    weights = torch.linspace(-1, 1, 999, dtype=dtype)
    tolerance = 16 * torch.finfo(dtype).eps  # values up to 12, three roundings
    torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)
    got, wanted = (torch.autograd.grad((z * weights).sum(), x)[0] for z in (y, expected))
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)
    assert len([t for t in saved if t.numel() == x.numel()]) == 1
