"""The judgements of exercises: plain functions that raise Failed with the smallest failing case.

Arguments are drawn by Hypothesis with the strategies of minigen.testing, the ones that the test
suite uses; a wrong gradient is named by minigen.diagnosis. The same call judges in a script, in a
notebook and in `minigen lesson check`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..diagnosis import explain
from ..errors import MinigenError

try:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as draw

    from ..testing import strategies as some
except ImportError as missing:
    raise MinigenError(
        f"exercises are checked with Hypothesis ({missing}): pip install 'minigen[lessons]'"
    ) from None

__all__ = ["Failed", "Stop", "draw", "equal", "gradients", "law", "op", "slopes", "some"]

EXAMPLES = 25


class Failed(AssertionError):
    """An answer that is wrong; the text says for which arguments, and what it looks like."""


class Stop(BaseException):
    """A verdict that needs no smaller case, so Hypothesis must not look for one."""


def law(what: str, holds: Callable[..., Any], **strategies: Any) -> None:
    """`holds(**arguments)` raises nothing and does not return False, for whatever is drawn."""

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),  # type: ignore[arg-type]
        report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    @given(draw.fixed_dictionaries(strategies))
    def run(arguments: dict[str, Any]) -> None:
        arguments = {name: arguments[name] for name in strategies}  # in their own order
        try:
            if holds(**arguments) is False:
                raise Failed(f"{what} does not hold")
        except NotImplementedError:
            raise Stop("not written yet: replace `raise NotImplementedError`") from None
        except MemoryError:
            raise Stop(
                "it ran out of memory: does something grow at every call or in every turn?"
            ) from None
        except Failed as error:
            raise Failed(f"{error}\n{described(arguments)}") from None
        except Exception as error:
            error.add_note(f"while this was checked: {what}\n{described(arguments)}")
            raise

    if strategies:
        run()
    else:
        holds()


def described(arguments: dict[str, Any]) -> str:
    """The failing case, a line for each argument."""
    lines = ["smallest failing case:"] if arguments else []
    for name, value in arguments.items():
        if hasattr(value, "arrays"):  # an Example of the test suite's table
            parts = [described({f"argument {k}": a}) for k, a in enumerate(value.arrays)]
            lines += [part.partition("\n")[2] for part in parts]
            continue
        if isinstance(value, np.ndarray):
            text = np.array2string(value, precision=4, threshold=30)
        else:
            with np.printoptions(precision=4, threshold=30, linewidth=60):
                text = repr(value)
        shape = f"  shape {value.shape}" if isinstance(value, np.ndarray) else ""
        lines.append(f"  {name} = " + text.replace("\n", "\n" + " " * (len(name) + 5)) + shape)
    return "\n".join(lines)


def equal(yours: Callable[..., Any], right: Callable[..., Any], *, rtol: float = 1e-9,
          **strategies: Any) -> None:
    """yours(**arguments) is right(**arguments), within rounding, and leaves its arguments alone."""
    name = getattr(yours, "__name__", "your function")

    def holds(**arguments: Any) -> None:
        copies = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        found, expected = yours(**copies), right(**arguments)
        compare(found, expected, name, rtol)
        for k, v in arguments.items():
            if isinstance(v, np.ndarray) and not np.array_equal(copies[k], v, equal_nan=True):
                raise Failed(f"{name} changes its argument {k}: compute a new array instead")

    law(f"{name} gives the right value", holds, **strategies)


def compare(found: Any, expected: Any, name: str, rtol: float = 1e-9, size: float = 1e-12) -> None:
    """Failed, with what the difference looks like, unless found is expected.

    size  of what is added up, where it may cancel: rounding is relative to that.
    """
    if isinstance(expected, tuple):
        if not isinstance(found, tuple) or len(found) != len(expected):
            raise Failed(f"{name} gives {_brief(found)}, where {len(expected)} values belong")
        for k, (f, e) in enumerate(zip(found, expected, strict=True)):
            compare(f, e, f"{name}, value {k},", rtol, size)
        return
    if found is None:
        raise Failed(f"{name} returns None: is a `return` missing?")
    try:
        y, right = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        raise Failed(f"{name} gives {_brief(found)}, where a number or an array belongs") from None
    if y.shape != right.shape:
        raise Failed(f"{name} gives an array of shape {y.shape}, where {right.shape} belongs")
    if np.isnan(y).any() and not np.isnan(right).any():
        raise Failed(f"{name} gives NaN: {_brief(y)}, where {_brief(right)} belongs")
    scale = float(np.abs(right[np.isfinite(right)]).max(initial=size))
    if not np.allclose(y, right, rtol=rtol, atol=rtol * scale, equal_nan=True):
        sizes = {f"axis {k}": n for k, n in enumerate(right.shape)}
        finding = explain(y, right, sizes) if np.isfinite(y).all() else None
        # A value that is zero has left no tape; what it is can be seen.
        looks = f"\nit looks like this: {finding.text}" if finding and (
            finding.kind not in ("unknown", "zero")) else ""
        raise Failed(f"{name} gives {_brief(y)}, where {_brief(right)} belongs{looks}")


def slopes(f: Callable[..., Any], gradient: Callable[..., Any], *, eps: float = 1e-5,
           rtol: float = 1e-6, **strategies: Any) -> None:
    """gradient(**arguments) is the tuple of ∂f/∂argument, measured by central differences.

    f gives one number; the arguments are numbers or arrays, and gradients come in their order.
    """
    name = getattr(gradient, "__name__", "your gradient")

    def holds(**arguments: Any) -> None:
        found = gradient(**arguments)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) != len(arguments):
            raise Failed(f"{name} gives {len(found)} gradients for {len(arguments)} arguments")
        for (k, value), g in zip(arguments.items(), found, strict=True):
            right = measured(lambda v, k=k: f(**{**arguments, k: v}), value, eps)
            compare(g, right, f"{name}: the slope along {k}", rtol)

    law(f"{name} is the slope", holds, **strategies)


def measured(f: Callable[[Any], Any], x: Any, eps: float = 1e-5) -> np.ndarray:
    """∂f/∂x by central differences, an element at a time; f gives one number."""
    x = np.asarray(x, dtype=float)
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = eps
        out[at] = (float(f(x + step)) - float(f(x - step))) / (2 * eps)
    return out


def gradients(f: Callable[..., Any], *, order: int = 2, **strategies: Any) -> None:
    """minigen's own check: f of Tensors, gradients up to this order, in random directions."""
    from ..gradcheck import GradientError, check_grad

    def holds(**arguments: Any) -> None:
        try:
            check_grad(f, *arguments.values(), order=order, names=list(arguments))
        except GradientError as error:
            raise Failed("\n".join(f"[{x.kind}] {x.text}" for x in error.findings)) from None

    law("the gradient check", holds, **strategies)


def op(name: str, thing: Any) -> None:
    """Every case that the test suite has of this operation, with `thing` in the place of minigen's
    own class or function of the same name."""
    from ..gradcheck import GradientError
    from ..testing.cases import CASES

    with planted(thing):
        for case in CASES[name]:

            def holds(example: Any, case: Any = case) -> None:
                try:
                    example.check(case.order)
                except GradientError as error:
                    found = "\n".join(f"[{x.kind}] {x.text}" for x in error.findings)
                    raise Failed(f"{case.name}, derivative of order {_order(error)}:\n{found}"
                                 ) from None
                except AssertionError as error:
                    for found, right in example.values():
                        compare(found, right, case.name)
                    raise Failed(f"{case.name}: {str(error).strip()}") from None

            law(case.name, holds, example=case.examples)


def _order(error: Any) -> str:
    words = str(error).split()
    return words[words.index("order") + 1].rstrip(":") if "order" in words else "1"


@contextlib.contextmanager
def planted(thing: Any) -> Iterator[None]:
    """Put a class or function in the place of minigen's own, in all modules that name it."""
    name, home = thing.__name__, sys.modules[thing.__module__]
    original = vars(home).get(name)
    places = [m for k, m in list(sys.modules.items())
              if k.startswith("minigen") and vars(m).get(name) is original]
    for module in places:
        setattr(module, name, thing)
    try:
        yield
    finally:
        for module in places:
            setattr(module, name, original)


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=5, threshold=12).replace("\n", "")
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
