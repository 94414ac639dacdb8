"""Seeded bugs in checkpoints, runs and resuming."""

from __future__ import annotations

from ..bugs import Bug
from . import laws

RESUME = "tests/minigen/test_training_run.py -k resume_at_every_step"
STORE = "tests/minigen/test_training_checkpoint.py"

BUGS = [
    Bug(
        "written-in-place",
        "minigen/images.py",
        "        os.replace(temporary, path)\n",
        "        path.write_bytes(data[: len(data) // 2])\n        os.replace(temporary, path)\n",
        ("tests/minigen/test_images.py -k failed_write",),
    ),
    Bug(
        "checksum-ignores-the-values",
        "minigen/training/checkpoint.py",
        "        digest.update(array.tobytes())\n",
        "",
        (laws("changed_value"),),
    ),
    Bug(
        "model-not-compared",
        "minigen/training/checkpoint.py",
        "    if found.model != model:\n",
        "    if False:\n",
        ("tests/minigen/test_training_run.py -k another_model",),
    ),
    Bug(
        "older-checkpoints-all-deleted",
        "minigen/training/checkpoint.py",
        "for path in earlier[: max(0, len(earlier) - (keep - 1))]:",
        "for path in earlier:",
        (STORE + " -k last_few",),
    ),
    Bug(
        "arrays-come-back-flat",
        "minigen/training/packing.py",
        'return arrays[inner] if mark == "$array" else arrays[inner][()]',
        'return arrays[inner].reshape(-1) if mark == "$array" else arrays[inner][()]',
        (STORE + " -k comes_back_as_it_was",),
    ),
    Bug(
        "resume-counts-from-the-start",
        "minigen/training/run.py",
        "self.step = self._first_step = resume.step",
        "self.step = self._first_step = resume.step - 1",
        (RESUME,),
    ),
    Bug(
        "metrics-not-cut-on-resume",
        "minigen/training/run.py",
        "            self.folder.go_back_to(self.step, self.options.sample_every)\n",
        "            pass\n",
        (RESUME,),
    ),
]
