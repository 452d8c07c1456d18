"""The methods, one file each; importing this package registers them.

A file that has settings declares them in its `extend_cfg(cfg)`. Adding a method adds a file and edits none.
"""

import importlib
import pkgutil
from typing import Any

_MODULES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def extend_cfg(cfg: Any) -> None:
    """Declare the settings of every method in `cfg`, with their defaults."""
    for module in _MODULES:
        if hasattr(module, "extend_cfg"):
            module.extend_cfg(cfg)
