"""Looking inside: attention rollout, nearest words, and how far prompts moved."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from classify.attention import attention_of, look, rollout
from classify.words import moves, nearest_words, text_vectors
from clip import PromptSchedule
from clip.tokenizer import default_tokenizer
from tests.trainers.small_runs import IMAGES, build
from trainers.prompt_file import PromptFile


@pytest.mark.parametrize("case", ["MPL", "MaPLe", "IVLP", "VPT", "MMRL", "CoOp middle", "ZeroshotCLIP"])
def test_shares_of_attention_sum_to_one(case: str, load: Callable) -> None:
    model = load(case).model
    with torch.no_grad():
        attention, prompts = attention_of(model, IMAGES), model.prompt_learner.vision()
        schedule = prompts.schedule if prompts else PromptSchedule(len(attention), 0)
        shares, n_joined = rollout(attention, schedule), sum(plan.added for plan in schedule.plans)
        assert shares.shape == (4, 5 + n_joined)  # class token and 2 x 2 patches
        torch.testing.assert_close(shares.sum(-1), torch.ones(4))
        torch.testing.assert_close(look(model, IMAGES).flatten(1), shares[:, 1:5])
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_rollout_follows_prompts_that_are_removed_and_join() -> None:
    """Two layers by hand: class token, one patch, one prompt; the prompt is replaced between them."""
    first = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])
    second = torch.tensor([[0.4, 0.2, 0.4], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    shares = rollout([first[None], second[None]], PromptSchedule(2, 1, [1], [1]))
    # half each: 0.7 of the class token's row (0.6, 0.25, 0.15), 0.1 of the patch, 0.2 of the new prompt
    torch.testing.assert_close(shares, torch.tensor([[0.42, 0.275, 0.105, 0.2]]))


def test_a_word_is_nearest_to_its_own_vector(load: Callable) -> None:
    classifier = load("CoOp middle")
    clip, learner = classifier.model.clip, classifier.model.prompt_learner
    (word,) = default_tokenizer().encode("heron")
    with torch.no_grad():
        learner.ctx[1] = clip.token_embedding.weight[word]
    assert text_vectors(learner)[0].shape == (4, 64)
    row = next(row for row in nearest_words(learner, clip, 3) if row["prompt"] == 1 and row["rank"] == 1)
    assert row["word"] == "heron" and row["distance"] == pytest.approx(0, abs=1e-3)
    assert nearest_words(load("VPT").model.prompt_learner, clip, 3) == []


def test_moves_are_measured_from_the_draw_of_the_seed(eurosat, weights, tmp_path, load) -> None:
    trainer = build("MPL", eurosat, weights["narrow"], tmp_path, "SEED", 0)  # `build` seeds with 0
    start = {name: value.clone() for name, value in trainer.learned.state_dict().items()}
    trainer.train()
    file, clip = PromptFile.read(tmp_path), load().model.clip
    rows = {row["array"]: row for row in moves(file, clip)}
    assert rows.keys() == start.keys()
    for name, row in rows.items():
        assert row["moved"] == pytest.approx(float((file.learned[name] - start[name]).norm()), rel=1e-4)
    assert moves(dataclasses.replace(file, seed=None), clip) == []
