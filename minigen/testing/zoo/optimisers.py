"""Seeded bugs in optimisers, averages and schedules."""

from __future__ import annotations

from ..bugs import Bug
from . import parity

FILE = "minigen/optim.py"
RESUME = "tests/minigen/test_optim.py -k resuming"

BUGS = [
    Bug(
        "first-momentum-damped",
        FILE,
        "buffer[...] = g if first else m * buffer + (1 - self.dampening) * g",
        "buffer[...] = m * buffer + (1 - self.dampening) * g",
        (parity("sgd"),),
    ),
    Bug(
        "nesterov-looks-ahead-without-momentum",
        FILE,
        "g = g + m * buffer if self.nesterov else buffer",
        "g = g + buffer if self.nesterov else buffer",
        (parity("sgd"),),
    ),
    Bug(
        "betas-exchanged",
        FILE,
        "beta1=self.betas[0],\n                beta2=self.betas[1],",
        "beta1=self.betas[1],\n                beta2=self.betas[0],",
        (parity("adam"),),
    ),
    Bug(
        "eps-and-weight-decay-exchanged",
        FILE,
        "eps=self.eps,\n                weight_decay=self.weight_decay,",
        "eps=self.weight_decay,\n                weight_decay=self.eps,",
        (parity("adam"),),
    ),
    Bug(
        "adamw-decays-through-the-gradient",
        FILE,
        "    decoupled = True\n",
        "    decoupled = False\n",
        (parity("adam"),),
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
        "state[int(index)][slot] = namespace_of(data).array(array, data.dtype)",
        "state[int(index)][slot] = namespace_of(data).zeros(data.shape, data.dtype)",
        (RESUME,),
    ),
    Bug(
        "clipping-by-the-sum-of-squares",
        FILE,
        "norm = math.sqrt(math.fsum(squares)) if",
        "norm = math.fsum(squares) if",
        (parity("clip"),),
    ),
    Bug(
        "average-weighed-the-wrong-way",
        FILE,
        "average += (1 - self.decay) * (p.data - average)",
        "average += self.decay * (p.data - average)",
        ("tests/minigen/test_optim.py -k closed_form",),
    ),
]
