"""Packed texts give the features and gradients of the plain computation, with fewer tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import clip
from clip import CLIP, CLIPConfig, LayerPrompts, PromptSchedule
from clip.fast import FastPaths
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
    return CLIP(CLIPConfig(32, 32, 2, 64, 16, 20, 49408, WIDTH, N_LAYERS)).eval().requires_grad_(False)


def random_texts(lengths: list[int], n_common: int) -> tuple[Tensor, Tensor]:
    """Word vectors ``[C, L, D]`` of texts of these lengths whose first ``n_common`` are the same, and the places of their last ones."""
    generator = torch.Generator().manual_seed(1)
    embedded = torch.randn(len(lengths), max(lengths), WIDTH, generator=generator)
    embedded[:, :n_common] = embedded[0, :n_common].clone()
    return embedded, torch.tensor(lengths) - 1


def prompts_of(schedule: PromptSchedule | None, embedded: Tensor) -> LayerPrompts | None:
    if schedule is None:
        return None
    generator = torch.Generator().manual_seed(2)
    deep = [torch.randn(p.added, WIDTH, generator=generator).requires_grad_() if p.added else None for p in schedule.plans[1:]]
    return LayerPrompts(schedule, [embedded[0, 1 : 1 + schedule.n_initial], *deep])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lengths", [[9], [7, 7, 7], [5, 9, 6, 12]])
def test_features_and_gradients_are_those_of_the_plain_computation(name: str, lengths: list[int], model: CLIP) -> None:
    found = []
    for packs in (False, True):
        embedded, end_index = random_texts(lengths, 4)
        embedded.requires_grad_()
        prompts = prompts_of(SCHEDULES[name], embedded)
        features = model.encode_embedded_text(embedded, end_index, prompts, TextPacking(end_index, 4) if packs else None)
        features.square().sum().backward()
        # The common tokens' gradient is at the first text alone when they stand once; their sum over the texts is what a prompt gets.
        learned = [p.grad for p in (prompts.tokens[1:] if prompts else []) if p is not None]
        found.append((features.detach(), embedded.grad[:, :4].sum(0), embedded.grad[:, 4:], *learned))
    for plain, packed in zip(*found, strict=True):  # float32, another order of summation
        torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5 * max(1.0, float(plain.abs().max())))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(3, 14), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 2**31))
def test_any_lengths(lengths: list[int], n_common: int, seed: int) -> None:
    torch.manual_seed(seed)
    tower = CLIP(CLIPConfig(32, 32, 1, 64, 16, 20, 300, WIDTH, 1)).eval().requires_grad_(False)
    n_common = min(n_common, min(lengths) - 1)
    embedded, end_index = random_texts(lengths, n_common)
    packing = TextPacking(end_index, n_common)
    assert packing.pack(embedded).shape == (1, n_common + sum(n - n_common for n in lengths), WIDTH)
    torch.testing.assert_close(
        tower.encode_embedded_text(embedded, end_index, None, packing),
        tower.encode_embedded_text(embedded, end_index),
        rtol=1e-4,
        atol=1e-5,
    )


def test_common_tokens_are_those_before_the_first_difference() -> None:
    tokens = clip.tokenize(["a photo of a cat.", "a photo of a big dog.", "a photo of the sea."])
    end_index = tokens.argmax(-1)
    assert n_common_tokens(tokens, end_index) == 4  # the start mark, a, photo, of
    assert n_common_tokens(tokens[:2], end_index[:2]) == 5
    assert n_common_tokens(tokens[:1], end_index[:1]) == int(end_index[0])  # all but the end mark
    with pytest.raises(ValueError, match="no 8 common tokens"):
        TextPacking(torch.tensor([7, 9]), 8)


def test_each_fast_path_can_be_turned_off(model: CLIP) -> None:
    lengths, images = [], torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    embedded, end_index = random_texts([6, 9], 4)
    last_text, last_image = model.transformer.resblocks[-1], model.visual.transformer.resblocks[-1]
    hooks = [last_text.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[:2]))]
    hooks += [last_image.register_forward_hook(lambda _, inputs, output: lengths.append(output.shape[:2]))]
    found = []
    for fast in (FastPaths(), FastPaths(trim_text=False, pack_text=False, read_one_token=False)):
        model.set_fast_paths(fast)
        texts = model.encode_embedded_text(embedded, end_index, None, TextPacking(end_index, 4))
        found.append((model.encode_image(images), texts, model.encode_text(clip.tokenize(["a cat", "dogs"], 20))))
    for hook in hooks:
        hook.remove()
    model.set_fast_paths(FastPaths())
    # packed texts, the class token alone, trimmed texts; then each as it is without
    assert lengths == [(1, 4 + 2 + 5), (2, 1), (2, 4), (2, 9), (2, 5), (2, 20)]
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
