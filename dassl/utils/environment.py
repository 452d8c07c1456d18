"""What a run runs on."""

import os
import platform
import subprocess
from importlib.metadata import version

import numpy
import PIL
import torch

_SOURCES = (":(top)*.py", ":(top)*.yaml", ":(top)*.sh", ":(top,exclude)*/site-packages/*")


def collect_versions() -> dict[str, str]:
    """Version numbers of what results depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "cuda": torch.version.cuda or "none",
    }


def device_name(device: torch.device | str) -> str:
    """A device in words: the GPU's model, or the processor and the number of cores."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def git_commit() -> str | None:
    """The commit of the source tree that this package is part of; None outside a git checkout."""
    return _git("rev-parse", "HEAD")


def is_modified() -> bool | None:
    """Whether code or settings, also untracked ones, differ from the commit; None outside a git checkout."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    if changes == "":
        changes = _git("ls-files", "--others", "--exclude-standard", "--", *_SOURCES)
    return None if changes is None else bool(changes)


def _git(*words: str) -> str | None:
    """What git prints for this file's folder; None where it fails."""
    command = ["git", "--no-optional-locks", *words]
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def collect_env_info() -> str:
    """Device, versions and commit, as lines of text."""
    device = device_name("cuda" if torch.cuda.is_available() else "cpu")
    versions = {**collect_versions(), "commit": git_commit() or "none"}
    return f"Device: {device}\nVersions: {', '.join(' '.join(pair) for pair in versions.items())}"
