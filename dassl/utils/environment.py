"""What a run runs on."""

import contextlib
import os
import platform
import subprocess
import sys

import numpy
import PIL
import torch

_SOURCES = (":(top)*.py", ":(top)*.yaml", ":(top)*.sh", ":(top,exclude)*/site-packages/*")  # the last: a virtual environment of any name


def _torchvision_version() -> str:
    try:
        import torchvision
    except ImportError:
        return "none"
    return torchvision.__version__


def collect_versions() -> dict[str, str]:
    """Version numbers of what results depend on; "none" for what is not there."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": _torchvision_version(),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "cuda": torch.version.cuda or "none",
    }


def device_name(device: torch.device | str) -> str:
    """A device in words: the GPU's model, or the processor and the number of cores."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def usable_device(name: torch.device | str | None = None) -> torch.device:
    """The device of a name such as ``cpu``, ``cuda`` or ``cuda:1``; without a name, a GPU if there is one, else the CPU.

    Raises:
        ValueError: there is no such device here; those that there are stand in the message.
    """
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = getattr(torch.accelerator.current_accelerator(), "type", "") if torch.accelerator.is_available() else ""
    seen = ["cpu", *(f"{kind}:{index}" for index in range(torch.accelerator.device_count() if kind else 0))]
    with contextlib.suppress(RuntimeError):  # it is no word for a device
        device = torch.device(name)
        if device.type == "cpu" or f"{device.type}:{device.index or 0}" in seen:
            return device
    raise ValueError(
        f"there is no device {str(name)!r} here; seen: {', '.join(seen)}. A GPU needs its driver and a PyTorch built for it (this is "
        f"{torch.__version__}), and CUDA_VISIBLE_DEVICES says which are seen"
    )


def git_commit() -> str | None:
    """The commit of the source tree that this package stands in; None outside a git checkout."""
    return _git("rev-parse", "HEAD")


def is_modified(folder: str = "") -> bool | None:
    """Whether the source tree differs from its commit, which then does not say what has run; None outside a git checkout.

    Files that git was never told of count where they can be code or settings, as those of a new method; what it ignores does not.

    Args:
        folder: a folder of the tree; by default that of this package.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no", folder=folder)
    if changes == "":
        changes = _git("ls-files", "--others", "--exclude-standard", "--", *_SOURCES, folder=folder)
    return None if changes is None else bool(changes)


def _git(*words: str, folder: str = "") -> str | None:
    """What git says of a folder, by default this file's; None where it says nothing."""
    call = ["git", "--no-optional-locks", *words]
    try:
        answer = subprocess.run(
            call, cwd=folder or os.path.dirname(os.path.abspath(__file__)), capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def collect_env_info() -> str:
    """The environment as lines of text, gathered in well under a second and without a network."""
    rows = {"platform": platform.platform(), "executable": sys.executable, **collect_versions()}
    rows["commit"] = git_commit() or "none"
    rows["cudnn"] = str(torch.backends.cudnn.version() or "none")
    rows["cpu"] = device_name("cpu")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows["gpu"] = "; ".join(gpus) or "none"
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
