"""Between `minigen lesson check` and the process that judges: the parent that a learner's code may
end without ending anything else.

    python -I -S warden.py ENDED COMMAND...

Runs the command; then writes its exit code, negative for a signal, to the file ENDED. It imports
nothing of minigen, so that it is there at once.
"""

import subprocess
import sys

if __name__ == "__main__":
    ended, *command = sys.argv[1:]
    code = subprocess.call(command)
    with open(ended, "w", encoding="ascii") as file:
        file.write(str(code))
