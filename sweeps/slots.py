"""The places in which runs are made: a GPU or a group of CPU cores, each given to one run at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .protocols import SweepError


@dataclass(frozen=True)
class Slot:
    """One place.

    Attributes:
        name: for messages.
        gpu: what its run sees as CUDA_VISIBLE_DEVICES, or None to leave that alone.
        cores: the CPU cores to which its run is held, or None.
        n_threads: OMP_NUM_THREADS of its run, or None to leave that alone.
    """

    name: str
    gpu: str | None = None
    cores: tuple[int, ...] | None = None
    n_threads: int | None = None

    def environment(self) -> dict[str, str]:
        """Its variables; an OMP_NUM_THREADS of the caller that is lower stays."""
        variables = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        if self.n_threads is not None:
            given = os.environ.get("OMP_NUM_THREADS", "")
            n_threads = min(self.n_threads, int(given)) if given.isdigit() and int(given) > 0 else self.n_threads
            variables["OMP_NUM_THREADS"] = str(n_threads)
        return variables


def visible_gpus() -> list[str]:
    """The GPUs that a run would see: of CUDA_VISIBLE_DEVICES, else those that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    call = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.split() if done.returncode == 0 else []


def usable_cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def make_slots(n_jobs: int | None, gpus: Sequence[str] | None, seen_gpus: Sequence[str], cores: Sequence[int]) -> list[Slot]:
    """The slots for ``--jobs`` and ``--gpus``.

    Args:
        n_jobs: runs at once; None for one a GPU of ``gpus``, else 1.
        gpus: the GPUs to use; empty for the CPU alone; None for those that are seen.
        seen_gpus: the GPUs of this machine.
        cores: its usable CPU cores.

    Raises:
        SweepError: there are more runs at once than GPUs, or than cores where no GPU is used; or a GPU is named twice, or is not there, where its runs
            would be made on the CPU.
    """
    if n_jobs is not None and n_jobs < 1:
        raise SweepError(f"--jobs is {n_jobs}; at least 1 run is made at once")
    if gpus is not None and len(set(gpus)) < len(gpus):
        raise SweepError(f"--gpus is {','.join(gpus)}; each GPU is given to one run at a time, so name it once")
    unseen = [gpu for gpu in gpus or () if gpu not in seen_gpus and not gpu.startswith(("GPU-", "MIG-"))]
    if unseen:
        raise SweepError(
            f"--gpus has {', '.join(unseen)}; seen here: {', '.join(seen_gpus) or 'no GPU'} (CUDA_VISIBLE_DEVICES says which, else nvidia-smi). "
            "Runs on a GPU that is not there would be made on the CPU; --gpus none asks for that"
        )
    if gpus is None and n_jobs in (None, 1):
        return [Slot("this machine")]  # as a launcher by hand runs
    on = list(seen_gpus if gpus is None else gpus)
    if on:
        n_jobs = n_jobs or len(on)
        if n_jobs > len(on):
            raise SweepError(
                f"--jobs {n_jobs} with {len(on)} GPU{'s' * (len(on) > 1)} ({', '.join(on)}): each is given to one run at a time"
            )
        share = max(1, len(cores) // n_jobs)
        return [Slot(f"GPU {gpu}", gpu=gpu, n_threads=share) for gpu in on[:n_jobs]]
    n_jobs = n_jobs or 1
    if n_jobs > len(cores):
        raise SweepError(f"--jobs {n_jobs} with {len(cores)} CPU core{'s' * (len(cores) > 1)}: each is given to one run at a time")
    groups = [tuple(cores[i * len(cores) // n_jobs : (i + 1) * len(cores) // n_jobs]) for i in range(n_jobs)]
    hidden = "" if seen_gpus else None  # --gpus none on a machine with GPUs
    return [Slot(f"cores {group[0]}-{group[-1]}", hidden, group, len(group)) for group in groups]
