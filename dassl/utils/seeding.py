"""Random numbers: seeding every generator, and keeping, restoring and isolating their states."""

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, the GPUs' included.

    Args:
        seed: 0 is a seed like any other; -1 (the default of SEED) leaves the generators as they are.

    Raises:
        ValueError: below -1, or 2**32 and above, which NumPy does not take.
    """
    if seed == -1:
        return
    if not 0 <= seed < 2**32:
        raise ValueError(f"SEED must be -1 (not seeded) or in 0..{2**32 - 1}, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def make_deterministic() -> None:
    """Let a GPU give the same numbers each time, and end the run, by name, at an operation that cannot (DETERMINISTIC True).

    cuBLAS reads its setting when it is first used, so that this comes before anything runs on a GPU; a note says so where it does not. A CPU needs none of
    it: with one number of threads it gives the same numbers anyway.
    """
    if "CUBLAS_WORKSPACE_CONFIG" not in os.environ and torch.cuda.is_initialized():
        print(
            "Note: a GPU was used before DETERMINISTIC; if a matrix product is now refused, set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # one of the two values that PyTorch's notes on reproducibility name
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a kernel an array, for memory that nothing reads unwritten
    torch.backends.cudnn.benchmark = False


def get_random_state() -> dict[str, Any]:
    """The states of all generators as numbers, strings, lists and byte tensors, which `weights_only` loading accepts."""
    version, words, gauss_next = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": {"version": version, "words": list(words), "gauss_next": gauss_next},
        "numpy": {
            "kind": str(kind),
            "keys": [int(key) for key in keys],
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `get_random_state` gave; GPU states are put back where there are as many GPUs."""
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss_next"]))
    keys = np.array(numpy["keys"], dtype=np.uint32)
    np.random.set_state((numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(state["torch"])
    cuda = state.get("cuda")
    if cuda is not None and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def isolated_random_state(seed: int) -> Iterator[None]:
    """Run a block with the CPU generators seeded from `seed`, and put their states back afterwards.

    Args:
        seed: 0..2**63-1. The GPUs' generators are left alone.
    """
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.random.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)
