"""Prompts are removed, carried and added as their schedule says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip.prompt_ops import LayerPrompts, PromptSchedule, PromptSpan, update


def test_the_schedule_prints_itself_as_a_table() -> None:
    lines = str(PromptSchedule(12, 2, [4], [1], "image tower")).splitlines()
    assert lines[0] == "Prompts of the image tower"
    assert [line.split() for line in lines[1:]] == [
        ["layer", "carried", "removed", "added", "total"],
        ["0", "0", "0", "2", "2"],
        ["1", "1", "1", "4", "5"],
        ["2-11", "5", "0", "0", "5"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.integers(0, 4), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6))))
def test_counts_balance_or_the_layer_is_named(n_layers: int, n_initial: int, changes: list) -> None:
    changes = changes[: n_layers - 1]
    added, removed = [n for n, _ in changes], [n for _, n in changes]
    present = [n_initial]
    for layer_index, (n_add, n_remove) in enumerate(changes, 1):
        if n_remove > present[-1]:
            message = f"layer {layer_index} .* remove {n_remove} .* {present[-1]} are present"
            with pytest.raises(ValueError, match=message):
                PromptSchedule(n_layers, n_initial, added, removed)
            return
        present.append(present[-1] - n_remove + n_add)
    schedule = PromptSchedule(n_layers, n_initial, added, removed)
    assert schedule.n_present == present + present[-1:] * (n_layers - len(present))
    # The last prompts are removed first, and the others keep their order; here each prompt is its layer.
    layers = [torch.full((plan.added, 1), float(plan.layer_index)) for plan in schedule.plans]
    prompts, expected = LayerPrompts(schedule, layers), [0.0] * n_initial
    tokens, span = update(torch.full((1, 3, 1), -1.0), PromptSpan(1, 0), 0, prompts.embedded)
    for plan in schedule.plans[1:]:
        tokens, span = prompts.before_layer(plan.layer_index, tokens, span)
        expected = expected[: plan.carried] + [float(plan.layer_index)] * plan.added
        assert tokens.flatten().tolist() == [-1, *expected, -1, -1] and span == PromptSpan(1, plan.total)


def test_what_does_not_fit_the_sequence_or_the_tower_is_refused() -> None:
    for n_remove in (4, -1):  # never the tower's own tokens
        with pytest.raises(ValueError, match="where 3 are present"):
            update(torch.zeros(1, 6, 1), PromptSpan(1, 3), n_remove, None)
    with pytest.raises(ValueError, match="4 layers deep"):
        PromptSchedule(3, 1, [1, 1, 1])
    schedule, two, one = PromptSchedule(3, 2, [1], [0]), torch.zeros(2, 4), torch.zeros(1, 4)
    LayerPrompts(schedule, [two, one])
    for tokens in ([two], [two, two], [two, one, None, None]):
        with pytest.raises(ValueError, match="add"):
            LayerPrompts(schedule, tokens)
