"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__} holds Modules, not {type(module).__name__} "
                "(an activation is a module too: ReLU(), not F.relu)"
            )
        setattr(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self.children())
        return type(self)._of(modules[index]) if isinstance(index, slice) else modules[index]

    @classmethod
    def _of(cls, modules: list[Module]) -> Any:
        out = cls.__new__(cls)
        _Numbered.__init__(out, modules)
        return out


class Sequential(_Numbered):
    """x ↦ (… ∘ modules[1] ∘ modules[0])(x)"""

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules, whose use is up to the owner's forward()."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self
