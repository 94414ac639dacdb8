"""python -m minigen: the same as the command minigen."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
