"""The activations that the end of a product can apply: their names, and what they are."""

from __future__ import annotations

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "gelu_tanh")


def slope_of(activation: str, slope: float) -> float:
    """The slope below 0: leaky_relu's own, 0 for the others; ValueError where there is none."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    if activation != "leaky_relu":
        return 0.0
    if not slope >= 0:  # or a value would not tell on which side of 0 it was made
        raise ValueError(f"activation 'leaky_relu' with slope {slope}: it must be 0 or more")
    return float(slope)
