"""Where the class token looks: attention is read rightly, nothing changes by looking, and the figure is of the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from classify import PromptClassifier
from classify.attention import relevance, rollout, watch_attention
from classify.explain import Explainer, central_square, explain_picture, look, plain_clip
from clip import CLIP, CLIPConfig, PromptSchedule
from dassl.utils.images import ImageError
from tests.classify.tiny_prompts import NAMES, SETTINGS, circle, classifier_of, prompt_file, tiny_clip

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def reference_attention(model: CLIP) -> list[torch.Tensor]:
    """Attention weights of plain CLIP's image tower as torch's own attention module gives them, from the same parameters and inputs."""
    inputs: list[torch.Tensor] = []
    blocks = model.visual.transformer.resblocks
    hooks = [block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for block in blocks]
    model.encode_image(IMAGES)
    for hook in hooks:
        hook.remove()
    weights = []
    for block, x in zip(blocks, inputs, strict=True):
        module = torch.nn.MultiheadAttention(x.shape[-1], block.attn.n_heads, batch_first=True)
        module.load_state_dict(block.attn.state_dict())
        weights.append(module(x, x, x, average_attn_weights=False)[1])
    return weights


@torch.no_grad()
def test_attention_is_that_of_torchs_own_module() -> None:
    model = tiny_clip()
    with watch_attention(model.visual) as record:
        model.encode_image(IMAGES)
    for ours, theirs in zip(record.weights, reference_attention(model), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("method", SETTINGS)
def test_rows_sum_to_one_over_all_tokens_and_features_are_as_unwatched(method: str) -> None:
    model = classifier_of(method).model
    prompts = model.prompt_learner.vision()
    present = prompts.schedule.n_present if prompts else [0] * 6
    with torch.no_grad():
        unwatched = model.image_features(IMAGES)
        with watch_attention(model.clip.visual) as record:
            watched = model.image_features(IMAGES)
        again = model.image_features(IMAGES)
    assert torch.equal(unwatched, watched) and torch.equal(unwatched, again)
    assert [w.shape[-1] for w in record.weights] == [65 + n for n in present]
    for weights in record.weights:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    shares = rollout(record.weights, prompts.schedule if prompts else None)
    joined = sum(plan.added for plan in prompts.schedule.plans) if prompts else 0
    assert shares.shape == (2, 65 + joined)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2))


@pytest.mark.parametrize("method", ["CoOp", "CoCoOp"])
def test_prompts_of_the_text_alone_leave_plain_clips_gaze(method: str) -> None:
    model = classifier_of(method).model
    with_prompts, without = look(model, IMAGES[0], 0), look(plain_clip(model, NAMES), IMAGES[0], 0)
    assert torch.equal(with_prompts.gaze, without.gaze) and with_prompts.gaze_on_prompts == 0
    assert not torch.equal(with_prompts.evidence, without.evidence)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("row", [0, 1])
def test_the_quadrant_that_decides_is_the_one_that_is_seen(column: int, row: int) -> None:
    for label, one in Explainer(classifier_of("MPL")).looks(circle(column, row)):
        assert one.explained == NAMES.index("red circle")
        for grid, least in ((one.gaze, 0.45), (one.evidence, 0.6)):  # a quarter each, if the circle had no part in it
            quadrants = (grid / grid.sum()).view(2, 4, 2, 4).sum((1, 3))
            assert quadrants[row, column] > least, (label, quadrants)


def test_gradients_by_attention_are_those_of_finite_differences() -> None:
    """The score moves by the gradient when a head's attention to one patch is raised by a little, in the layer where nothing follows but the read-out."""
    visual = classifier_of("VPT").model.clip.visual
    last = visual.transformer.resblocks[-1].attn
    direction = torch.randn(64, generator=torch.Generator().manual_seed(1))
    head, patch, step = 1, 20, 1e-2
    images = IMAGES[:1].clone().requires_grad_(True)
    with watch_attention(visual) as record:
        score = visual(images)[0] @ direction
        gradient = record.gradients(score)[-1][0, head, 0, patch]
    value = record.layers[-1].value[0, head, patch]

    def raise_attention(_: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        mixed = args[0].clone()
        mixed[0, 0, head * 64 : head * 64 + 64] += step * value
        return (mixed,)

    hook = last.out_proj.register_forward_pre_hook(raise_attention)
    with torch.no_grad():
        moved = visual(images)[0] @ direction
    hook.remove()
    assert (moved - score).item() / step == pytest.approx(gradient.item(), rel=0.05)


def test_rollout_follows_prompts_that_are_removed_and_join() -> None:
    """Two layers by hand: class token, one patch, one prompt; the prompt is replaced between them."""
    first = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])
    second = torch.tensor([[0.4, 0.2, 0.4], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    shares = rollout([first[None, None], second[None, None]], PromptSchedule(2, 1, [1], [1]))
    # half each: class token 0.7 of its own row (0.6, 0.25, 0.15), 0.1 of the patch, 0.2 of the prompt that joined
    torch.testing.assert_close(shares, torch.tensor([[0.42, 0.275, 0.105, 0.2]]))
    nothing_raised = [torch.zeros(1, 1, 3, 3)] * 2
    assert relevance(nothing_raised, nothing_raised, PromptSchedule(2, 1, [1], [1])).abs().sum() == 0


def test_a_resnets_attention_pooling_is_read() -> None:
    torch.manual_seed(0)
    model = CLIP(CLIPConfig(32, 64, (1, 1, 1, 1), 8, None, 16, 49408, 64, 1, vision_heads=4)).eval()
    with torch.no_grad():
        unwatched = model.encode_image(IMAGES)
        with watch_attention(model.visual) as record:
            assert torch.equal(model.encode_image(IMAGES), unwatched)
    (weights,) = record.weights
    assert weights.shape == (2, 4, 1, 5)  # a map of 2 x 2 and its mean
    torch.testing.assert_close(rollout(record.weights).sum(-1), torch.ones(2))
    one = look(plain_clip(_prompted(model), NAMES), IMAGES[0])
    assert one.gaze.shape == one.evidence.shape == (2, 2) and (one.evidence >= 0).all() and one.evidence.sum() > 0


def _prompted(model: CLIP):
    from trainers.prompted_clip import PromptedCLIP
    from trainers.zsclip import FixedPrompts

    return PromptedCLIP(model, FixedPrompts(model, NAMES, ["a photo of a {}."]))


def test_other_towers_are_refused() -> None:
    with pytest.raises(TypeError, match="VisionTransformer or ModifiedResNet; received Linear"), watch_attention(torch.nn.Linear(1, 1)):
        pass


def test_looking_leaves_no_gradient_and_no_hook() -> None:
    model = classifier_of("MaPLe").model
    look(model, IMAGES[0])
    assert all(p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_the_figure_is_written_and_tells_both_models(tmp_path: Path) -> None:
    circle(0, 1, side=100).resize((150, 100)).save(tmp_path / "disc.png")
    out = explain_picture(classifier_of("MPL"), tmp_path / "disc.png", tmp_path / "new" / "disc_explained.png")
    with Image.open(out) as drawn:
        assert drawn.format == "PNG" and drawn.width >= 1400
    figure = Explainer(classifier_of("MPL")).figure(circle(0, 0), "disc.png")
    texts = [t.get_text() for t in figure.texts] + [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]
    assert any(t.startswith("disc.png: red circle (") for t in texts)
    assert {"Plain CLIP", "With MPL’s prompts", "Evidence for “red circle”"} <= set(texts)
    scales = [[image.get_clim() for image in ax.get_images()[1:]] for ax in figure.axes[:8]]
    assert scales[1] == scales[5] and scales[2] == scales[6]  # the colours of both rows mean the same


def test_the_square_shown_is_the_one_that_is_classified() -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste((0, 0, 255), (100, 0, 200, 100))
    assert central_square(wide).size == (100, 100) and central_square(wide).getcolors() == [(10000, (0, 0, 255))]


def test_class_names_may_change_and_one_class_will_do() -> None:
    classifier = PromptClassifier(prompt_file("MaPLe"), tiny_clip())
    explainer = Explainer(classifier)
    explainer.looks(circle(0, 0))
    classifier.classnames = ["a red disc"]
    plain, prompted = (one for _, one in explainer.looks(circle(0, 0)))
    assert plain.probabilities.tolist() == prompted.probabilities.tolist() == [1.0]
    assert prompted.evidence.sum() > 0


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"notes\.png"):
        explain_picture(classifier_of("MPL"), tmp_path / "notes.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
