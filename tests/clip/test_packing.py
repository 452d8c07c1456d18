"""Packed texts give the features and gradients of the plain computation, with fewer tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import clip
from clip import CLIP, CLIPConfig, LayerPrompts, PromptSchedule
from clip.packing import TextPacking, n_common_tokens

N_LAYERS, WIDTH = 3, 64
SCHEDULES = {
    "none": None,
    "replace all": PromptSchedule.replace_all(N_LAYERS, 2, 3),
    "carry and add": PromptSchedule(N_LAYERS, 2, [1, 2], [0, 1]),
    "remove alone": PromptSchedule(N_LAYERS, 2, [], [1, 1]),
}


@pytest.fixture(scope="module")
def model() -> CLIP:
    torch.manual_seed(0)
    return CLIP(CLIPConfig(32, 32, 2, 64, 16, 20, 300, WIDTH, N_LAYERS)).eval().requires_grad_(False)


def random_texts(lengths: list[int], n_common: int) -> tuple[Tensor, Tensor]:
    """Word vectors `[C, L, D]` of texts whose first `n_common` are alike, and the positions of their ends."""
    embedded = torch.randn(len(lengths), max(lengths), WIDTH, generator=torch.Generator().manual_seed(1))
    embedded[:, :n_common] = embedded[0, :n_common].clone()
    return embedded, torch.tensor(lengths) - 1


def prompts_of(schedule: PromptSchedule | None, embedded: Tensor) -> LayerPrompts | None:
    if schedule is None:
        return None
    generator = torch.Generator().manual_seed(2)
    deep = [
        torch.randn(plan.added, WIDTH, generator=generator).requires_grad_() for plan in schedule.plans[1:]
    ]
    return LayerPrompts(schedule, [embedded[0, 1 : 1 + schedule.plans[0].added], *deep])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lengths", [[9], [7, 7, 7], [5, 9, 6, 12]])
def test_features_and_gradients_equal_the_plain_computation(
    name: str, lengths: list[int], model: CLIP
) -> None:
    found = []
    for is_packed in (False, True):
        embedded, end_index = random_texts(lengths, 4)
        embedded.requires_grad_()
        prompts = prompts_of(SCHEDULES[name], embedded)
        packing = TextPacking(end_index, 4) if is_packed else None
        if packing:
            assert packing.pack(embedded).shape == (1, 4 + sum(n - 4 for n in lengths), WIDTH)
        features = model.encode_embedded_text(embedded, end_index, prompts, packing)
        features.square().sum().backward()
        # A common token's gradient is the sum over the texts; packed, the first text has it alone.
        learned = [tokens.grad for tokens in (prompts.tokens[1:] if prompts else []) if len(tokens)]
        found.append((features.detach(), embedded.grad[:, :4].sum(0), embedded.grad[:, 4:], *learned))
    for plain, packed in zip(*found, strict=True):  # float32, another order of summation
        torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5 * max(1.0, float(plain.abs().max())))


def test_common_tokens_are_those_before_the_first_difference() -> None:
    tokens = clip.tokenize(["a photo of a cat.", "a photo of a big dog.", "a photo of the sea."])
    end_index = tokens.argmax(-1)
    assert n_common_tokens(tokens, end_index) == 4  # the start mark, a, photo, of
    assert n_common_tokens(tokens[:2], end_index[:2]) == 5
    assert n_common_tokens(tokens[:1], end_index[:1]) == int(end_index[0])  # all but the end mark
