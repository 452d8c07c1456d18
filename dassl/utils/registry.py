"""Names for classes: trainers, datasets and evaluators register themselves under one."""

from typing import Any

from dassl.command import UnknownNameError, check_availability


class Registry:
    """A table of names, filled by the decorator `register()`; `name`, such as "TRAINER", is for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._obj_map: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register `obj` under its own `__name__`; without `obj`, act as a decorator.

        A taken name is a KeyError, unless `force` replaces what is registered there.
        """
        if obj is None:
            return lambda decorated: self.register(decorated, force)
        name = obj.__name__
        if name in self._obj_map and not force:
            first = self._obj_map[name].__module__
            raise UnknownNameError(f"{first} has registered {name} already: rename that of {obj.__module__}")
        self._obj_map[name] = obj
        return obj

    def get(self, name: str) -> Any:
        """What is registered under `name`; an unknown name is an UnknownNameError."""
        check_availability(name, self.registered_names(), self._name.lower())
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        return list(self._obj_map)
