"""Module: a function with parameters, which are found by walking over its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A Tensor that a Module learns: it requires a gradient unless said otherwise."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Module:
    """What has parameters, sub-modules and a forward(): `module(x)` calls `module.forward(x)`.

    Nothing is registered. Parameters and sub-modules are the attributes, in the order in which they
    were set; lists, tuples and dicts of them are looked into. Buffers (saved, not learned) are
    declared with register_buffer(). Names are as in torch: "layers.0.weight".
    """

    training: bool = True
    _buffers: tuple[str, ...] = ()
    _unsaved: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set the attribute `name` to a tensor that is saved and moved along, but not learned.

        persistent=False keeps it out of the state_dict.
        """
        if tensor is not None and (not isinstance(tensor, Tensor) or isinstance(tensor, Parameter)):
            raise TypeError(f"register_buffer({name!r}): a buffer is a Tensor, not {tensor!r}")
        setattr(self, name, tensor)
        self._buffers = (*self._buffers, name)
        if not persistent:
            self._unsaved = (*self._unsaved, name)

    # ---- walks, in torch's order: own parameters, own buffers, then the children

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, sub-module) of the direct sub-modules; those in lists and dicts as "list.0"."""
        for name, value in self.__dict__.items():
            for key, leaf in _leaves(name, value):
                if isinstance(leaf, Module):
                    yield key, leaf

    def children(self) -> Iterator[Module]:
        """The direct sub-modules."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module) of this module (named prefix) and all below it, each one once."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each one once."""
        return (module for _, module in self.named_modules())

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """As named_modules, but a module that is shared comes again under each of its names."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _own(self, buffers: bool) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.__dict__.items():
            for key, leaf in _leaves(name, value):
                wanted = name in self._buffers if buffers else isinstance(leaf, Parameter)
                if wanted and isinstance(leaf, Tensor):
                    yield key, leaf

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter), in a fixed order; one that is shared comes once, by its first name."""
        return self._named(buffers=False)  # type: ignore[return-value]

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer), in a fixed order, each one once."""
        return self._named(buffers=True)

    def _named(self, buffers: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for prefix, module in self._walk():
            for name, tensor in module._own(buffers):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{prefix}.{name}" if prefix else name, tensor

    def parameters(self) -> list[Parameter]:
        """All parameters, in a fixed order, each one once."""
        return [p for _, p in self.named_parameters()]

    def buffers(self) -> list[Tensor]:
        """All buffers, in a fixed order, each one once."""
        return [b for _, b in self.named_buffers()]

    # ---- modes

    def train(self, mode: bool = True) -> Any:
        """Set training mode here and below (dropout drops, batch norm uses the batch)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Set evaluation mode here and below."""
        return self.train(False)

    @property
    def device(self) -> str:
        """Where the parameters are: "cpu" or "cuda:i"; "cpu" where there are none."""
        return next((p.device for _, p in self.named_parameters()), "cpu")

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze (False) or free (True) all parameters."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Set every parameter's .grad to None."""
        for p in self.parameters():
            p.grad = None

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn(module) for every module, children before their parents."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, where: Any) -> Any:
        """Move parameters and buffers, in place, to a device ("cpu", "cuda") or floating dtype."""
        is_device = isinstance(where, str) and where.split(":")[0] in ("cpu", "cuda")
        for tensor in [*self.parameters(), *self.buffers()]:
            if is_device or tensor.dtype.kind == "f":
                tensor.data = tensor.detach().to(where).data
                tensor.grad = None if tensor.grad is None else tensor.grad.to(where)
                tensor.changed()
        return self

    # ---- saving

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays, under torch's names."""
        return {name: tensor.numpy().copy() for name, tensor in self._saved()}

    def _saved(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self._walk():
            for buffers in (False, True):
                for name, tensor in module._own(buffers):
                    if name not in module._unsaved:
                        yield f"{prefix}.{name}" if prefix else name, tensor

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy the arrays of a state_dict, by name, into the parameters and buffers.

        Nothing is changed unless every array fits. strict=False passes over missing and
        unexpected names, but not over wrong shapes.
        """
        own = dict(self._saved())
        problems = []
        if strict:
            problems += _listed("missing", [name for name in own if name not in state_dict])
            problems += _listed("unexpected", [name for name in state_dict if name not in own])
        arrays = {name: _array(state_dict[name]) for name in own if name in state_dict}
        problems += [
            f"{name} has shape {array.shape}, but {own[name].shape} is needed"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        if problems:
            raise ValueError(f"load_state_dict of {type(self).__name__}: {'; '.join(problems)}")
        for name, array in arrays.items():
            tensor = own[name]
            if isinstance(tensor.data, np.ndarray):
                tensor.data[...] = array
            else:
                tensor.data.set(np.asarray(array, tensor.dtype, order="C"))  # 0-d stays 0-d
            tensor.changed()

    # ---- shown as torch shows it

    def extra_repr(self) -> str:
        """What stands in the parentheses of this module's repr."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        name, extra = type(self).__name__, self.extra_repr()
        if not lines:
            return f"{name}({extra})"
        body = "\n".join("  " + line for line in ([extra] if extra else []) + lines)
        return f"{name}(\n{body}\n)"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value), or those of the items of a list, tuple or dict, as "name.key"."""
    if isinstance(value, (Module, Tensor)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _leaves(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what} {', '.join(names)}"] if names else []
