"""Operations on tensors, one file per kind; `minigen.functional` is their public face."""

from __future__ import annotations

from . import methods as methods
