"""Fuzzing guided by coverage: atheris keeps each file that reaches new code of a reader, and mutates it further.

The branches of the project's readers are counted, and those of what they lean on where that is Python: pickletools, zipfile, json, csv, and PyTorch's own
unpickler. pickle, JSON's scanner and csv's reader are C, and run uninstrumented as users have them. atheris (https://github.com/google/atheris) is
optional; `pip install atheris`.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from tests.hostile.fuzz_mutations import MAX_BYTES

if TYPE_CHECKING:
    from tests.hostile.fuzz_targets import Seed

INSTRUMENTED = (
    "clip", "dassl", "datasets", "csv", "json", "pickle", "pickletools", "zipfile", "safetensors", "torch.serialization", "torch._weights_only_unpickler",
    "torch._utils",
)  # fmt: skip
"""Packages and modules whose branches are counted."""

LOG_NAME = "atheris.log"
CORPUS_NAME = "corpus"


def fuzz_covered(
    seeds: Sequence[Seed],
    read: Callable[[Seed, bytes], None],
    seed: int,
    seconds: float,
    kept_dir: Path,
    at_end: Callable[[], None],
    instrumented: Sequence[str] = INSTRUMENTED,
) -> None:
    """Read files that atheris makes out of the seeds and of what it kept, until the time is over; then this process ends, as libFuzzer's do.

    Args:
        seeds: where mutations start; a file of the corpus is the index of a seed, whose reader reads it, in a byte, and the content.
        read: reads a content as a seed is read; must raise nothing.
        seed: of atheris and of the mutations.
        seconds: how long, from when the first file is read.
        kept_dir: the corpus, and what atheris prints, are kept here; a corpus that is there is begun from.
        at_end: called last.
        instrumented: packages and modules whose branches are counted, as far as they are loaded.
    """
    import atheris

    from tests.hostile.fuzz_targets import mutated

    corpus_dir = kept_dir / CORPUS_NAME
    corpus_dir.mkdir(parents=True, exist_ok=True)
    for i, start in enumerate(seeds):
        (corpus_dir / f"seed-{start.name}").write_bytes(bytes([i]) + start.content)
    log = os.open(kept_dir / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)  # libFuzzer writes there, past sys.stderr
    for function in functions_of(instrumented):
        atheris.instrument_func(function)
    until = time.time() + seconds

    def mutate(data: bytes, max_size: int, mutation_seed: int) -> bytes:
        """One of the format's own mutations, of what was kept or of a seed, or one of libFuzzer's, which know what the code compared with."""
        rng = random.Random(mutation_seed)
        share = rng.random()
        if not data or share < 0.05:
            start = rng.choice(seeds)
            return bytes([seeds.index(start)]) + mutated(start, rng)[: max_size - 1]
        if share < 0.5:
            return data[:1] + atheris.Mutate(data[1:], max_size - 1)
        return data[:1] + mutated(replace(seeds[data[0] % len(seeds)], content=data[1:]), rng)[: max_size - 1]

    def read_one(data: bytes) -> None:
        if time.time() >= until:
            at_end()
            os._exit(0)
        if data:
            read(seeds[data[0] % len(seeds)], data[1:])

    limits = ["-rss_limit_mb=0", f"-timeout={10**6}"]  # memory and time are bounded by who calls
    options = [f"-seed={seed + 1}", f"-max_len={MAX_BYTES + 1}", f"-artifact_prefix={kept_dir}/", *limits]
    atheris.Setup(["fuzz", *options, str(corpus_dir)], read_one, custom_mutator=mutate)
    atheris.Fuzz()


def functions_of(names: Sequence[str]) -> list[FunctionType]:
    """All functions and methods that are defined in the loaded modules of these names, and below them."""
    found: dict[int, FunctionType] = {}
    for module in [
        m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and f"{m.__name__}.".startswith(tuple(f"{n}." for n in names))
    ]:
        classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
        for value in [v for holder in (module, *classes) for v in vars(holder).values()]:
            for function in (value, getattr(value, "__func__", None), getattr(value, "fget", None), getattr(value, "__wrapped__", None)):
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    found[id(function)] = function
    return list(found.values())


def last_coverage(kept_dir: Path) -> dict[str, int]:
    """What atheris printed last: branches covered, features (branches and how often they were taken), files in the corpus; {} where it printed nothing."""
    path = kept_dir / LOG_NAME
    lines = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", path.read_text(errors="replace")) if path.exists() else []
    return dict(zip(("branches", "features", "corpus"), map(int, lines[-1]), strict=True)) if lines else {}
