"""python -m benchmarks NAME ..."""

from __future__ import annotations

import sys

from . import __doc__ as overview
from . import gpu, models

COMMANDS = {"models": models.main, "gpu": gpu.main}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(overview)
        return 0 if arguments in ([], ["-h"], ["--help"]) else 2
    return COMMANDS[arguments[0]](arguments[1:])


sys.exit(main(sys.argv[1:]))
