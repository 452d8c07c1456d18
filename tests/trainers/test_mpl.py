"""MPL's own rules: schedules, parameter counts, settings by layer, and when it equals another method."""

import pytest
import torch

from clip.model import CLIP
from clip.weights import published_models
from tests.trainers.small_runs import IMAGES, LABELS
from trainers.ivlp import IndependentPrompts
from trainers.maple import MaPLePrompts
from trainers.mpl import GroupSchedule, MPLPrompts


@pytest.fixture(scope="module")
def b16() -> CLIP:
    with torch.device("meta"):
        return CLIP(published_models()["ViT-B/16"].config)


def test_prompts_of_all_twelve_layers_have_the_published_name_of_their_layer(b16: CLIP) -> None:
    learner = IndependentPrompts(b16, ["a cat"], "a photo of a", 2, 12, 2, 12)
    names, text, vision = learner.published_names(), learner.text().deep.tokens, learner.vision().tokens
    assert names.pop("prompt_learner.ctx") is text[0] and names.pop("image_encoder.VPT") is vision[0]
    for layer in range(1, 12):
        for encoder, tokens in (("text_encoder", text), ("image_encoder", vision)):
            assert names.pop(f"{encoder}.transformer.resblocks.{layer}.VPT_shallow") is tokens[layer]
    assert not names


def test_trainable_parameters_at_vit_b16(b16: CLIP) -> None:
    names, words = ["a cat", "a dog"], "a photo of a"

    def mpl(depth: int) -> MPLPrompts:
        text, vision = (GroupSchedule(12, 1, depth, a, 1, "tower") for a in (1, 2))
        return MPLPrompts(b16, names, words, text, vision)

    learners = {
        6_702_336: mpl(9),
        1_971_456: mpl(3),
        3_555_072: MaPLePrompts(b16, names, 2, words, 9),
        1_185_024: MaPLePrompts(b16, names, 2, words, 3),
    }
    for count, learner in learners.items():
        assert sum(p.numel() for p in learner.parameters()) == count


@pytest.mark.parametrize(
    ("settings", "vision", "text"),
    [
        (["N_ADD_OP", [1, 3], "N_RM_OP", [0, 4]], [2, 4, 6, 6], [2, 2, 2]),
        (["N_ADD_OP", [0, 1], "N_RM_OP", [2, 0]], [2, 0, 2, 2], [2, 2, 2]),
        (["TEXT_N_ADD_OP", [2, 1], "TEXT_N_RM_OP", [1, 0]], [2, 5, 8, 8], [2, 5, 7]),
        (["TEXT_N_ADD_OP", 2], [2, 5, 8, 8], [2, 4, 4]),
        (["TEXT_N_ADD_OP", 0, "TEXT_N_RM_OP", 0], [2, 5, 8, 8], [2, 2, 2]),
        (["TEXT_N_ADD_OP", 0, "TEXT_N_RM_OP", [2, 0]], [2, 5, 8, 8], [2, 0, 0]),
        (["TEXT_N_ADD_OP", 0, "TEXT_N_RM_OP", 0, "N_ADD_OP", 0, "N_RM_OP", 0], [2, 2, 2, 2], [2, 2, 2]),
    ],
)
def test_any_schedule_of_the_three_operations_trains(settings: list, vision: list, text: list, make) -> None:
    trainer = make("MPL", *settings)
    learner = trainer.model.prompt_learner
    assert (learner.vision_schedule.n_present, learner.text_schedule.n_present) == (vision, text)
    trainer.loss(IMAGES, LABELS).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.learned.parameters())


def test_removing_and_adding_all_is_maples_schedule(make) -> None:
    """With MaPLe's parameters and prompt words, it gives MaPLe's logits."""
    maple = make("MaPLe", "TRAINER.MAPLE.CTX_INIT", "X X")
    mpl = make("MPL", "N_ADD_OP", 1, "N_RM_OP", 2, "CTX_INIT", "")
    schedules = [trainer.model.prompt_learner.vision_schedule for trainer in (mpl, maple)]
    assert schedules[0].plans == schedules[1].plans
    state = maple.learned.state_dict()
    mpl.learned.load_state_dict(
        {k.replace("compound_prompt_projections.", "txt2img_proj.0."): v for k, v in state.items()}
    )
    torch.testing.assert_close(mpl.model(IMAGES), maple.model(IMAGES), rtol=1e-4, atol=1e-4)


def test_ivlp_without_text_prompts_is_vpt(make) -> None:
    vpt, ivlp = make("VPT"), make("IVLP", "TRAINER.IVLP.PROMPT_DEPTH_TEXT", 0)
    ivlp.learned.load_state_dict(vpt.learned.state_dict())
    assert torch.equal(ivlp.model(IMAGES), vpt.model(IMAGES))
