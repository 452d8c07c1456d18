"""Dataset readers, one file a dataset; importing the package registers them all."""

import importlib
import pkgutil
from typing import Any

_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]


def extend_cfg(cfg: Any) -> None:
    """Declares the settings of every dataset module that has an `extend_cfg`."""
    for module in _MODULES:
        if hasattr(module, "extend_cfg"):
            module.extend_cfg(cfg)
