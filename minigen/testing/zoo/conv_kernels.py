"""Seeded bugs in the kernels of matrix products and convolutions, and in the cache they lie in."""

from __future__ import annotations

from ..bugs import Bug
from . import gradients

FILE = "kernels/minigen_kernels/cpu/conv.py"
LANES = "kernels/minigen_kernels/cpu/conv_lanes.py"
PLANS = "kernels/minigen_kernels/cpu/conv_plans.py"
ROWS = "kernels/minigen_kernels/cpu/conv_rows.py"
ROW_TILES = "kernels/minigen_kernels/cpu/row_tiles.py"
CHOICE = "kernels/minigen_kernels/cpu/conv_choice.py"
TILES = "kernels/minigen_kernels/cpu/lanes.py"
JOBS = "kernels/minigen_kernels/cpu/jobs.py"
GEMM = "kernels/minigen_kernels/cpu/gemm.py"
JIT = "kernels/minigen_kernels/cpu/jit.py"
PANELS = "kernels/minigen_kernels/cpu/panels.py"
CONV = "tests/kernels/test_conv.py"
GEMMS = "tests/kernels/test_gemm.py"

BUGS = [
    Bug(
        "taps-in-the-wrong-dilation",
        FILE,
        "_image_axis(w_shape[3], 0, dilation[1], 1, 2),",
        "_image_axis(w_shape[3], 0, dilation[0], 1, 2),",
        (CONV + " -k conv2d",),
    ),
    Bug(
        "padding-off-by-one",
        FILE,
        "_image_axis(y_shape[2], -padding[0], stride[0], width, 1),",
        "_image_axis(y_shape[2], 1 - padding[0], stride[0], width, 1),",
        (CONV + " -k conv2d",),
    ),
    Bug(
        "rows-and-columns-exchanged-in-the-scatter",
        FILE,
        "h, v = p * sizes[8] - sizes[6], q * sizes[9] - sizes[7]",
        "h, v = p * sizes[9] - sizes[6], q * sizes[8] - sizes[7]",
        (CONV + " -k 'transpose2d_rungs or one_form'",),
    ),
    Bug(
        "bias-left-out-of-the-transposed-convolution",
        FILE,
        "        x[n, c] = bias[c]\n",
        "        x[n, c] = 0\n",
        (CONV + " -k transpose2d_rungs", gradients("conv_transpose2d")),
    ),
    Bug(
        "groups-share-the-first-one-s-channels",
        FILE,
        "    b = Places(steps(groups, w_shape[1] * image[0] * image[1]), taps, pixels)\n",
        "    b = Places(steps(groups, 0), taps, pixels)\n",
        (CONV + " -k 'conv2d_rungs or one_form'",),
    ),
    Bug(
        "last-row-dropped-in-the-direct-loops",
        FILE,
        "return max(0, min(count, (size - offset + step - 1) // step))",
        "return max(0, min(count, (size - offset) // step))",
        (CONV + " -k rungs",),
    ),
    Bug(
        "last-images-of-a-batch-never-transposed",
        LANES,
        "    for i in range(0, n, lanes):\n",
        "    for i in range(0, n - lanes + 1, lanes):\n",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "border-of-ones",
        LANES,
        "planes[start : start + sizes[3]] = 0",
        "planes[start : start + sizes[3]] = 1",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "every-block-of-taps-begins-anew",
        LANES,
        "offset, k0 + k, out, c_at + i * c_row + n, c_row, bias, bias_at + i, k == 0,",
        "offset, k0 + k, out, c_at + i * c_row + n, c_row, bias, bias_at + i, True,",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "bias-of-the-first-group-for-all",
        LANES,
        "g * rows, (g * rows * pixels + p) * images, pixels * images,",
        "0, (g * rows * pixels + p) * images, pixels * images,",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "weight-gradient-from-the-first-group-s-cotangent",
        LANES,
        "pixels, row = min(together, sizes[5] - p), (p * images * groups + g) * padded",
        "pixels, row = min(together, sizes[5] - p), p * images * groups * padded",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "channels-of-a-later-task-summed-twice",
        LANES,
        "for o in range(from_, min(padded, from_ + wide), 2 * lanes):",
        "for o in range(from_, padded, 2 * lanes):",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "phases-that-forget-the-dilation",
        PLANS,
        "p = [p for p in range(kh) if p * dilation[0] % stride[0] == r0]",
        "p = [p for p in range(kh) if p % stride[0] == r0]",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "taps-of-a-phase-one-column-off",
        PLANS,
        "back = (i * dilation[0] // stride[0], j * dilation[1] // stride[1])",
        "back = (i * dilation[0] // stride[0], j // stride[1])",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "blocks-of-32-rows-without-their-tail",
        GEMM,
        "blocks = (m + 31) // 32",
        "blocks = max(m // 32, 1)",
        (GEMMS + " -k about_the_sides",),
    ),
    Bug(
        "a-transposed-left-matrix-read-straight",
        GEMM,
        "a_strides = (a_batch, 1, m) if a_turned else (a_batch, depth, 1)",
        "a_strides = (a_batch, depth, 1)",
        (GEMMS + " -k 'rungs or many_tiles'",),
    ),
    Bug(
        "later-blocks-of-depth-replace-the-first",
        PANELS,
        "c_at, f = c0 + i * n + j, k0 == 0",
        "c_at, f = c0 + i * n + j, True",
        (GEMMS + " -k many_tiles",),
    ),
    Bug(
        "tile-at-the-edge-forgets-what-was-there",
        PANELS,
        "    if not first:",
        "    if first:",
        (GEMMS + " -k many_tiles",),
    ),
    Bug(
        "first-lanes-of-a-panel-packed-first",
        PANELS,
        "for part in range((rows - 1) // lanes * lanes, -1, -lanes):",
        "for part in range(0, rows, lanes):",
        (GEMMS + " -k 'rungs or many_tiles'",),
    ),
    Bug(
        "rows-of-a-product-of-one-column-one-number-apart",
        GEMM,
        "x = a[r // m * a_batch + r % m * depth :]",
        "x = a[r // m * a_batch + r % m :]",
        (GEMMS + " -k of_one_column",),
    ),
    Bug(
        "bias-of-the-image-instead-of-the-channel",
        CHOICE,
        "bias[plane % bias.size]",
        "bias[plane // bias.size % bias.size]",
        (CONV + " -k kernels_of_one_pixel",),
    ),
    Bug(
        "first-of-the-panels-packed-ahead-taken-for-all",
        PANELS,
        "deep, a_at = rows, a_at + apart",
        "deep, a_at = rows, a_at",
        (GEMMS + " -k 'rungs or many_tiles'",),
    ),
    Bug(
        "image-gradient-with-the-kernel-upside-down",
        "minigen/ops/conv.py",
        "gx = _image_of(x.shape, gy, w, self.geometry) if self.needs(0) else None",
        "gx = _image_of(x.shape, gy, w[:, :, ::-1], self.geometry) if self.needs(0) else None",
        (gradients("conv2d"),),
    ),
    Bug(
        "weight-gradient-of-the-transposed-convolution-halved",
        "minigen/ops/conv.py",
        "gw = Conv2dWeight(w.shape[2:], **self.geometry)(gx, y) if self.needs(1) else None",
        "gw = Conv2dWeight(w.shape[2:], **self.geometry)(gx, y) * 0.5 if self.needs(1) else None",
        (gradients("conv_transpose2d"),),
    ),
    Bug(
        "compiled-code-served-to-another-module",
        JIT,
        "self._stamp = (function.__module__, ",
        "self._stamp = (",
        ("tests/kernels/test_jit.py -k two_packages",),
    ),
    Bug(
        "compiled-code-that-outlives-what-its-imports-import",
        JIT,
        "waiting += _imports(file, found[file])",
        "waiting += _imports(file, found[file]) if len(found) == 1 else []",
        ("tests/kernels/test_jit.py -k imported",),
    ),
    Bug(
        "rows-of-a-read-as-they-lie-from-the-first-of-the-block",
        PANELS,
        "(a, a_from, i) if here",
        "(a, a_from, rows_from) if here",
        (GEMMS + " -k 'rungs or many_tiles'",),
    ),
    Bug(
        "images-of-the-first-block-for-every-thread",
        LANES,
        "sizes, c, task * n * of_x)",
        "sizes, c, 0)",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "pointwise-although-the-stride-skips-pixels",
        CHOICE,
        "return (*w_shape[2:], *stride, *padding, groups) == (1, 1, 1, 1, 0, 0, 1)",
        "return (*w_shape[2:], *padding, groups) == (1, 1, 0, 0, 1)",
        (CONV + " -k rungs",),
    ),
    Bug(
        "bias-left-out-of-a-pointwise-convolution",
        CHOICE,
        "return y if bias is None else _add_bias(y, bias)",
        "return y",
        (CONV + " -k rungs",),
    ),
    Bug(
        "cotangents-of-the-first-pixel-for-several",
        TILES,
        "row = builder.add(builder.mul(p, depth), k)",
        "row = k",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "last-pixels-missing-from-a-weight-gradient",
        LANES,
        "for p in range(0, sizes[5], together):",
        "for p in range(0, sizes[5] - together + 1, together):",
        (CONV + " -k 'larger_shapes and lanes and float32'",),
    ),
    Bug(
        "last-block-of-rows-never-multiplied",
        PANELS,
        "row_blocks, column_blocks = -(-row_panels // row_block), ",
        "row_blocks, column_blocks = max(1, row_panels // row_block), ",
        (GEMMS + " -k 'rungs or many_tiles'",),
    ),
    Bug(
        "job-left-running-when-its-giver-goes-on",
        JOBS,
        "if await_counter(board, STATE, over, looks) < over:",
        "if False:",
        ("tests/kernels/test_threads.py -k 'begun or outlives'",),
    ),
    Bug(
        "job-left-on-the-board-for-whoever-comes",
        JOBS,
        "if state % 3 == 1 and _exchange(board, STATE, state, state + 2):",
        "if state % 3 == 1:",
        ("tests/kernels/test_threads.py -k 'taken_back or outlives'",),
    ),
    Bug(
        "failure-of-a-helper-swallowed",
        JOBS,
        "failed |= board[FAILED]",
        "failed |= 0 * board[FAILED]",
        ("tests/kernels/test_threads.py -k failure",),
    ),
    Bug(
        "last-pixel-of-a-line-left-out",
        ROWS,
        "left_next = min(lanes, wide - j)",
        "left_next = min(lanes, wide - j - 1)",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "second-vector-of-a-tile-at-the-first-one-s-pixels",
        ROW_TILES,
        "(builder.mul(b_next, size), builder.mul(c_next, size))",
        "(builder.mul(c_next, size), builder.mul(c_next, size))",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "last-lines-of-a-task-without-their-neighbours",
        ROWS,
        "(to - 1) * sizes[S0] + sizes[REACH], sizes)",
        "(to - 1) * sizes[S0] + 1, sizes)",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "columns-of-the-wrong-phase",
        ROWS,
        "offset = ((c * phases + q % phases) * plane[0] + p) * line + q // phases",
        "offset = ((c * phases + q // phases) * plane[0] + p) * line + q % phases",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "taps-of-a-transposed-row-forwards",
        ROWS,
        "taps = [steps(w_shape[2 + a], dilation[a])[::-1] for a in (0, 1)]",
        "taps = [steps(w_shape[2 + a], dilation[a]) for a in (0, 1)]",
        (CONV + " -k transposed_convolution_of_rows",),
    ),
    Bug(
        "every-block-of-taps-of-a-row-begins-anew",
        ROWS,
        "c_next, pixels, left, left_next, bias, o, k == 0,",
        "c_next, pixels, left, left_next, bias, o, k >= 0,",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "border-of-old-memory",
        ROWS,
        "    mine[:] = 0\n    parts",
        "    parts",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "weight-gradient-of-rows-with-the-lanes-beyond-a-line",
        ROW_TILES,
        "mask = code.lanes_below(builder.sub(wide, j))",
        "mask = code.lanes_below(builder.add(wide, j))",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
    Bug(
        "weight-gradient-of-rows-from-the-first-images",
        ROWS,
        "planes, n * sizes[NUMBERS] + g * in_group, sizes[NUMBERS],",
        "planes, g * in_group, sizes[NUMBERS],",
        (CONV + " -k 'larger_shapes and rows and float32'",),
    ),
]
