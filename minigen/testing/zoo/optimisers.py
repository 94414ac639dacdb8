"""Seeded bugs in optimisers, averages and schedules."""

from __future__ import annotations

from ..bugs import Bug
from . import parity_in

FILE = "minigen/optim.py"
RESUME = "tests/minigen/test_optim.py -k resuming"

BUGS = [
    Bug(
        "first-momentum-damped",
        FILE,
        "buffer[...] = g if first else m * buffer + (1 - self.dampening) * g",
        "buffer[...] = m * buffer + (1 - self.dampening) * g",
        (parity_in("optim", "sgd"),),
    ),
    Bug(
        "nesterov-looks-ahead-without-momentum",
        FILE,
        "g = g + m * buffer if self.nesterov else buffer",
        "g = g + buffer if self.nesterov else buffer",
        (parity_in("optim", "sgd"),),
    ),
    Bug(
        "betas-exchanged",
        FILE,
        "beta1=self.betas[0],\n                beta2=self.betas[1],",
        "beta1=self.betas[1],\n                beta2=self.betas[0],",
        (parity_in("optim", "adam"),),
    ),
    Bug(
        "eps-and-weight-decay-exchanged",
        FILE,
        "eps=self.eps,\n                weight_decay=self.weight_decay,",
        "eps=self.weight_decay,\n                weight_decay=self.eps,",
        (parity_in("optim", "adam"),),
    ),
    Bug(
        "adamw-decays-through-the-gradient",
        FILE,
        "    decoupled = True\n",
        "    decoupled = False\n",
        (parity_in("optim", "adamw"),),
    ),
    Bug(
        "blocks-counted-from-the-last-tensor-only",
        "kernels/minigen_kernels/cpu/optimizer.py",
        "before, t = before + blocks, t + 1",
        "before, t = blocks, t + 1",
        ("tests/kernels/test_optimizer.py -k adam_rungs",),
    ),
    Bug(
        "steps-not-restored",
        FILE,
        'self.lr, self.steps, self.state = float(state_dict["lr"]), [int(s) for s in steps], state',
        'self.lr, self.steps, self.state = float(state_dict["lr"]), [0 for s in steps], state',
        (RESUME,),
    ),
    Bug(
        "moments-restored-as-zeros",
        FILE,
        "state[int(index)][slot] = beside(np.array(array, data.dtype), data)",
        "state[int(index)][slot] = beside(np.zeros(data.shape, data.dtype), data)",
        (RESUME,),
    ),
    Bug(
        "clipping-by-the-sum-of-squares",
        FILE,
        "norm = math.sqrt(math.fsum(squares)) if",
        "norm = math.fsum(squares) if",
        (parity_in("optim", "clip"),),
    ),
    Bug(
        "average-weighed-the-wrong-way",
        FILE,
        "average += own * (p.data - average)",
        "average += (1 - own) * (p.data - average)",
        ("tests/minigen/test_optim.py -k closed_form",),
    ),
]
