"""What a run runs on."""

import functools
import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

import numpy
import PIL
import torch

# A config does not count: the run's record holds its settings.
_SOURCES = (":(top)*.py", ":(top)*.sh", ":(top,exclude)*/site-packages/*")


@functools.cache
def provenance(device: torch.device) -> dict[str, Any]:
    """A device in words, the versions of what results depend on, and the commit of this source tree.

    The commit is None outside a git checkout; `modified` says whether code differs from it.
    """
    is_gpu = device.type == "cuda"
    processor = f"CPU {platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    changes = _git("status", "--porcelain", "--", *_SOURCES)
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else processor,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "cuda": torch.version.cuda or "none",
        },
        "commit": _git("rev-parse", "HEAD"),
        "modified": None if changes is None else bool(changes),
    }


def collect_env_info() -> str:
    """Device, versions and commit, as lines of text."""
    found = provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    versions = {**found["versions"], "commit": found["commit"] or "none"}
    return f"Device: {found['device']}\nVersions: {', '.join(' '.join(pair) for pair in versions.items())}"


def _git(*words: str) -> str | None:
    """What git prints for this file's folder; None where it fails."""
    command = ["git", "--no-optional-locks", *words]
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
