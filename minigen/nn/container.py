"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module

__all__ = ["ModuleList", "Sequential"]


class _Numbered(Module):
    """Sub-modules under the names "0", "1", ..."""

    def __init__(self, modules: Iterable[Module]):
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        setattr(self, str(len(self)), _module(self, module))
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, index: int | slice) -> Any:
        named = list(self.named_children())
        return self._of(dict(named[index])) if isinstance(index, slice) else named[index][1]

    def _of(self, named: dict[str, Module]) -> Any:
        """What a slice gives: the same kind of container, numbered anew."""
        out = type(self).__new__(type(self))
        _Numbered.__init__(out, named.values())
        return out


def _module(owner: Module, module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(
            f"{type(owner).__name__} holds Modules, not {type(module).__name__} "
            "(an activation is a module too: ReLU(), not F.relu)"
        )
    return module


class Sequential(_Numbered):
    """x ↦ (… ∘ modules[1] ∘ modules[0])(x); the modules follow each other, or are one dict of names

    A slice keeps the names, and so the keys of the state_dict.
    """

    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            super().__init__(())
            for name, module in modules[0].items():
                setattr(self, name, _module(self, module))
        else:
            super().__init__(modules)

    def _of(self, named: dict[str, Module]) -> Any:
        out = type(self).__new__(type(self))
        Sequential.__init__(out, named)
        return out

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules, whose use is up to the owner's forward()."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__(modules or ())
