"""Seeded bugs in normalisations."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients, parity, parity_in

FILE = "minigen/ops/norm.py"
KERNELS = "kernels/minigen_kernels/cpu/norm.py"
CHANNELS = "kernels/minigen_kernels/cpu/channels.py"
CUDA = "kernels/minigen_kernels/cuda/"
MOMENTS = "tests/kernels/test_cuda_moments.py"
BATCH_NORM = "tests/kernels/test_norm.py -k 'batch_norm or channel or variance'"

BUGS = [
    Bug(
        "running-statistics-weighed-the-wrong-way",
        FILE,
        "running.data[...] = (1 - momentum) * running.data + momentum * batch",
        "running.data[...] = momentum * running.data + (1 - momentum) * batch",
        (parity_in("ops", "running_statistics"),),
    ),
    Bug(
        "biased-variance-in-the-running-statistics",
        FILE,
        "norm.var * (n * pixels / (n * pixels - 1))",
        "norm.var * 1.0",
        (parity_in("ops", "running_statistics"),),
    ),
    Bug(
        "eps-outside-the-root-in-the-composed-formula",
        FILE,
        "return centred / (variance + eps).sqrt()",
        "return centred / (variance.sqrt() + eps)",
        (gradients("layer_norm"),),
    ),
    Bug(
        "composed-formula-forgets-to-centre-the-variance",
        FILE,
        "variance = (centred * centred).mean(axes, True)",
        "variance = (x * x).mean(axes, True)",
        (gradients("batch_norm (training)"),),
    ),
    Bug(
        "evaluation-scales-by-the-variance",
        FILE,
        "scale = 1 / (running_var.reshape(column) + eps).sqrt()",
        "scale = 1 / (running_var.reshape(column) + eps)",
        (parity("batch_norm (eval)"),),
    ),
    Bug(
        "as-many-groups-as-a-group-has-channels",
        FILE,
        "    groups = x.shape[0] * num_groups\n"
        "    rows = x.reshape((groups, x.size // groups if groups else 0))\n",
        "    groups = x.shape[0] * (channels // num_groups)\n"
        "    rows = x.reshape((groups, x.size // groups if groups else 0))\n",
        (parity("group_norm"),),
    ),
    Bug(
        "layer-norm-backward-given-the-scale-squared",
        FILE,
        "kernel(_rows(gy), _rows(x), w, self.mean, self.rstd)",
        "kernel(_rows(gy), _rows(x), w, self.mean, self.rstd * self.rstd)",
        (gradients("layer_norm"),),
    ),
    Bug(
        "batch-norm-kernel-backward-with-another-eps",
        FILE,
        "batch_norm_backward(gy, x, w, self.mean, self.var, self.eps)",
        "batch_norm_backward(gy, x, w, self.mean, self.var, 0.01)",
        (gradients("batch_norm (training)"),),
    ),
    Bug(
        "lanes-behind-the-end-of-a-row-counted",
        CHANNELS,
        "value = term.value if mask is None else builder.select(mask, term.value, zero)",
        "value = term.value",
        (BATCH_NORM,),
    ),
    Bug(
        "squares-about-a-number-that-is-not-the-mean",
        KERNELS,
        "m, square = number(near + away), square - away * away",
        "m, square = number(near + away), square",
        (BATCH_NORM,),
    ),
    Bug(
        "variance-kept-of-squares-about-a-number-far-away",
        KERNELS,
        "if square < 2 * away * away:",
        "if square < 0:",
        (BATCH_NORM,),
    ),
    Bug(
        "every-piece-of-a-long-row-is-its-first",
        CHANNELS,
        "start = builder.add(builder.mul(row.index, self.skip), done)",
        "start = builder.mul(row.index, self.skip)",
        (BATCH_NORM,),
    ),
    Bug(
        "parts-of-a-channel-joined-without-what-lies-between-their-means",
        CUDA + "norm.cu",
        "square += squares[part] + counts[part] * away * away;",
        "square += squares[part];",
        (MOMENTS + " -k 'far_from_zero or with_an_activation'",),
    ),
    Bug(
        "a-block-without-pixels-says-nothing-of-their-count",
        CUDA + "conv.cuh",
        "    moments.nothing(Tile::PARTS);\n",
        "",
        (MOMENTS + " -k 'without_a_block or several_tiles'",),
    ),
    Bug(
        "moments-of-pixels-beyond-the-last",
        CUDA + "moments.cuh",
        "T away = inside(i) ? at(i) - mean : T(0);",
        "T away = at(i) - mean;",
        (MOMENTS + " -k moments_of_conv",),
    ),
    Bug(
        "batch-norm-starts-from-the-moments-of-what-was-changed",
        "minigen/ops/activated.py",
        "isinstance(made_by, WithMoments) and x.version == [0] else None",
        "isinstance(made_by, WithMoments) else None",
        (MOMENTS + " -k changed",),
    ),
]
