# %% [raw]
# title = "Convolution and its adjoint"
# level = 2
# needs = ["03_trust"]
# read_minutes = 40
# cpu_minutes = 0.2
# memory_mb = 400
# seed = 5

# %% [markdown] id="conv.title"
# # Convolution and its adjoint
#
# A network that sees pictures has one operation at its heart, and a network that *makes* pictures
# has the same operation, run backwards. This lesson is about the pair: what a convolution is, why
# its two gradients and the "transposed convolution" of a generator are really one formula seen from
# three sides, where the checkerboard patterns in generated pictures come from, and how the same
# formula becomes a thousand times faster without changing its meaning.

# %% id="conv.start"
import time

import numpy as np
from minigen_kernels import backend_of, reference, use
from minigen_kernels.cpu import LADDERS

from minigen import Tensor
from minigen import functional as F
from minigen.draw import Drawing
from minigen.images import grid
from minigen.lesson import check, show
from minigen.lesson.planted import load

rng = np.random.default_rng(5)

# %% [markdown] id="conv.why"
# ## Looking through a small window
#
# A layer of lesson 2 multiplies every pixel by a weight of its own. For a picture of 28 by 28 pixels
# and as many outputs, that is 784 times 784 weights, and what it learns in the upper left corner it
# does not know in the lower right one. Pictures are not like that. An edge is an edge wherever it
# is. So: use a **small** table of weights, the kernel, and slide it over the picture, with the
# same weights everywhere.
#
# For a picture $x$ and a kernel $w$ of $k$ by $k$ weights, output pixel $(i, j)$ looks at the window
# whose corner is at $(i, j)$:
#
# $$y_{ij} = \sum_{p,q} x_{i+p,\,j+q}\; w_{pq}$$
#
# Two knobs make it flexible. With **stride** $s$ the window moves $s$ pixels at a time, so the
# output is smaller. With **padding** $P$ the picture gets a frame of $P$ zeros, so the window may
# look over the edge:
#
# $$y_{ij} = \sum_{p,q} x_{i s + p - P,\; j s + q - P}\; w_{pq}$$
#
# How large is the output? Along each side, the window fits as often as
# $\frac{n + 2P - k}{s} + 1$, rounded down.

# %% id="conv.size" predict="A picture of 28 by 28 pixels, a kernel of 4 by 4, stride 2, padding 1. How many rows does the output have?" options=["13", "14", "28"] answer="14"
def output_size(n, k, stride, padding):
    return (n + 2 * padding - k) // stride + 1


print(output_size(28, 4, 2, 1))
assert output_size(28, 4, 2, 1) == 14
assert output_size(14, 4, 2, 1) == 7
assert 28 * 28 == 784

# %% [markdown] id="conv.size2"
# Fourteen: exactly half. Kernel 4, stride 2, padding 1 is the usual way to halve a picture, and you
# will soon see why it is not kernel 3.

# %% [markdown] id="conv.loops.task"
# ## Your turn: the formula as loops
#
# Write `convolve(x, w, stride, padding)` for one picture `x` (H, W) and one kernel `w` (kh, kw): the
# formula, as it stands, in loops. Pixels outside of the picture count as 0; the easiest way is to
# test whether a position is inside. Do not think of speed.

# %% id="conv.loops" exercise=true points=2 time=15 uses=["conv.start", "conv.size"] stub="raise NotImplementedError"
def convolve(x, w, stride, padding):
    """y[i, j] = Σ_pq x[i·s + p - P, j·s + q - P] · w[p, q]"""
    # solution
    (height, width), (kh, kw) = x.shape, w.shape
    rows = output_size(height, kh, stride, padding)
    columns = output_size(width, kw, stride, padding)
    y = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for p in range(kh):
                for q in range(kw):
                    a = i * stride + p - padding
                    b = j * stride + q - padding
                    if 0 <= a < height and 0 <= b < width:
                        y[i, j] += x[a, b] * w[p, q]
    return y
    # end


# %% id="conv.loops.check" check="conv.loops" hint1="Four loops: over i and j of the output (output_size gives their range), over p and q of the kernel." hint2="Inside: a = i * stride + p - padding, b = j * stride + q - padding; if both are inside of x, y[i, j] += x[a, b] * w[p, q]."
def pictures_and_kernels():
    """(x, w, stride, padding) for which there is an output; from the test suite's geometries."""

    def single(g):
        rng = np.random.default_rng(sum(g["x_shape"]))
        stride, padding = g["stride"][0], g["padding"][0]
        k = g["w_shape"][2:]
        n = [max(m, k_ + 1) for m, k_ in zip(g["x_shape"][2:], k, strict=True)]
        return rng.standard_normal(n), rng.standard_normal(k), stride, padding

    return check.some.convolutions(zero=False).map(single)


def right_convolve(x, w, stride, padding):
    return reference.conv2d(x[None, None], w[None, None], None, (stride, stride), (padding, padding))[0, 0]


def convolve_is_right(case):
    x, w, stride, padding = case
    found = convolve(x.copy(), w.copy(), stride, padding)
    check.compare(found, right_convolve(x, w, stride, padding),
                  f"convolve of {x.shape} with {w.shape}, stride {stride}, padding {padding},")


check.law("convolve (case = x, w, stride, padding)", convolve_is_right, case=pictures_and_kernels())

# %% [markdown] id="conv.see"
# What does a kernel see? Here is a drawn digit, and what three kernels make of it: one that
# subtracts left from right, one that subtracts above from below, and one that averages.

# %% id="conv.kernels"
from minigen.data import glyphs

digit = glyphs(n=10, seed=5).images[3, 0] / 255.0
kernels = {
    "left to right": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4,
    "above to below": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]) / 4,
    "average": np.ones((3, 3)) / 9,
}
seen = [digit * 2 - 1]
for w in kernels.values():
    seen.append(np.clip(convolve(digit, w, 1, 1), -1, 1))
show(grid(np.stack(seen)[:, None], columns=4, scale=5, value_range=(-1, 1)),
     "conv-kernels",
     "A digit, its vertical edges, its horizontal edges, its average")

# %% [markdown] id="conv.channels"
# A real layer has many kernels, each gives a picture of its own (a *channel*), and each looks at all
# channels of its input. So `x` has the axes (N, C, H, W), for N pictures of C channels, and `w` has
# (O, C, kh, kw). The formula gets two more letters and stays the same:
#
# $$y_{noij} = \sum_{c,p,q} x_{n,c,\,is+p-P,\,js+q-P}\; w_{ocpq}$$
#
# ## The same sum as a product of matrices
#
# Computers have been multiplying matrices for a long time, and are very good at it. Write every
# window of `x` as a column of C·kh·kw numbers, one for each output pixel, and every kernel as a row
# of the same length: then the whole convolution is one product. The trick is called *im2col*.

# %% id="conv.im2col"
def windows(x, kh, kw, stride, padding):
    """(N, C, H, W) → (N, Ho, Wo, C, kh, kw): every window of x.

    No number is copied for it, the frame apart.
    """
    frame = (padding, padding)
    framed = np.pad(x, ((0, 0), (0, 0), frame, frame))
    sliding = np.lib.stride_tricks.sliding_window_view
    every = sliding(framed, (kh, kw), axis=(2, 3))
    return every[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)


def conv_by_matmul(x, w, stride, padding):
    view = windows(x, *w.shape[2:], stride, padding)
    n, h, wide = view.shape[:3]
    # (N·Ho·Wo, C·kh·kw): here the copying happens.
    columns = view.reshape(n * h * wide, -1)
    y = columns @ w.reshape(len(w), -1).T  # (N·Ho·Wo, O)
    return y.reshape(n, h, wide, len(w)).transpose(0, 3, 1, 2)


x = rng.standard_normal((2, 3, 9, 8))
w = rng.standard_normal((4, 3, 3, 3))
by_matmul = conv_by_matmul(x, w, 2, 1)
by_formula = reference.conv2d(x, w, None, (2, 2), (1, 1))
difference = np.abs(by_matmul - by_formula).max()
print("shape:", by_matmul.shape, "  largest difference:", difference)
assert difference < 1e-12
copied = windows(x, 3, 3, 1, 1).size / x.size
print("numbers copied, for each number of x, at stride 1:", copied)
assert copied == 9

# %% [markdown] id="conv.form"
# The price is memory: with a kernel of 3 by 3 and stride 1, every pixel is written down 9 times.
# (minigen's fast kernel gathers the windows only while it packs them for the processor, a few at a
# time, and never has them all in memory.)
#
# ## One form, three derivatives
#
# Now the gradients. One could start to sum indices. There is a better way to see it. Take the
# formula, and instead of computing $y$ from it, *multiply by* any $y$ and add everything up:
#
# $$T(x, w, y) = \sum_{n,o,i,j,c,p,q} x_{n,c,\,is+p-P,\,js+q-P}\; w_{ocpq}\; y_{noij}$$
#
# One number, made of three arrays, and it is *linear in each of the three* (mathematicians say
# trilinear). Look at what its slopes are:
#
# - $\partial T/\partial y$ leaves the sum over $c, p, q$: it is the **convolution**;
# - $\partial T/\partial x$ takes $y$ and $w$, and gives something of the shape of a picture. If $y$ is
#   the cotangent of a convolution, this is the **gradient with respect to the picture**;
# - $\partial T/\partial w$ takes $x$ and $y$, and is the **gradient with respect to the kernel**.
#
# So a convolution's backward needs no new mathematics: it is the other two slopes of the same $T$.
# And the backward of *those two*? Slopes of $T$ as well. The three operations are closed among
# themselves, to any order. minigen has one kernel for each, and no other.

# %% id="conv.three"
with use(rung=0):  # the formula in loops; faster ways come later
    y = rng.standard_normal(by_formula.shape)
    tx, tw, ty = Tensor(x), Tensor(w), Tensor(y)
    along_y = (F.conv2d(tx, tw, None, 2, 1) * ty).sum().item()
    picture = F.conv_transpose2d(ty, tw, None, 2, 1, output_padding=(0, 1))
    along_x = (picture * tx).sum().item()
    kernel = F.conv2d_weight(tx, ty, (3, 3), stride=2, padding=1)
    along_w = (kernel * tw).sum().item()
print(f"⟨y, conv(x, w)⟩        {along_y:.12f}")
print(f"⟨x, transposed(y, w)⟩  {along_x:.12f}")
print(f"⟨w, weight(x, y)⟩      {along_w:.12f}")
assert picture.shape == x.shape and kernel.shape == w.shape
assert abs(along_x - along_y) < 1e-10 and abs(along_w - along_y) < 1e-10
assert x.shape[3] == 8
assert output_size(8, 3, 2, 1) == output_size(7, 3, 2, 1) == 4

# %% [markdown] id="conv.three2"
# Three different calculations, one number: each is $T$, taken apart at another place. As a test this
# is worth gold. It needs no reference and no tolerance for nudging, and a padding that is off by one
# in any of the three kernels breaks it.
#
# (`output_padding=(0, 1)` says that `x` has 8 columns, not 7. From either, the output has 4, because
# the size is rounded down; so the way back has to be told.)
#
# The operation in the middle line is called the **adjoint** of the convolution, or, by those who
# write the convolution as a large matrix, its transpose. Hence *transposed convolution*.

# %% [markdown] id="conv.weight.task"
# ## Your turn: the slope of the kernel
#
# Write `kernel_gradient(x, gy, kh, kw, stride, padding)` for one picture and one kernel. You have
# $\partial T/\partial w_{pq}$ before you: the sum over all output pixels $(i, j)$ of the pixel of $x$
# that was multiplied by $w_{pq}$ there, times $gy_{ij}$.

# %% id="conv.weight" exercise=true points=2 time=10 uses=["conv.start", "conv.size"] stub="raise NotImplementedError"
def kernel_gradient(x, gy, kh, kw, stride, padding):
    """gw[p, q] = Σ_ij x[i·s + p - P, j·s + q - P] · gy[i, j]"""
    # solution
    gw = np.zeros((kh, kw))
    framed = np.pad(x, padding)
    for p in range(kh):
        for q in range(kw):
            for i in range(gy.shape[0]):
                for j in range(gy.shape[1]):
                    pixel = framed[i * stride + p, j * stride + q]
                    gw[p, q] += pixel * gy[i, j]
    return gw
    # end


# %% id="conv.weight.check" check="conv.weight" hint1="The loops are those of the convolution, in another order. Only the left side and the factor change." hint2="For all p, q, i, j: gw[p, q] += x[i * stride + p - padding, j * stride + q - padding] * gy[i, j], where that pixel exists. np.pad(x, padding) saves the test."
def one(part):
    """A part of one case: of a picture and a kernel, from the test suite's geometries."""

    def single(g):
        stride, padding, kernel = g["stride"][0], g["padding"][0], g["w_shape"][2:]
        picture = tuple(max(n, k) for n, k in zip(g["x_shape"][2:], kernel, strict=True))
        output = tuple(output_size(n, k, stride, padding)
                       for n, k in zip(picture, kernel, strict=True))
        return {"x": picture, "gy": output, "kernel": kernel, "stride": stride, "padding": padding}

    return check.draw.shared(check.some.convolutions(zero=False).map(single), key="case").map(
        lambda case: case[part])


def weight_is_right(x, gy, kernel, stride, padding):
    found = kernel_gradient(x.copy(), gy.copy(), *kernel, stride, padding)
    right = reference.conv2d_weight(x[None, None], gy[None, None], kernel, (stride,) * 2, (padding,) * 2)
    check.compare(found, right[0, 0], "kernel_gradient")


check.law("the kernel's slope", weight_is_right, x=check.some.arrays(one("x")),
          gy=check.some.arrays(one("gy")), kernel=one("kernel"), stride=one("stride"),
          padding=one("padding"))

# %% [markdown] id="conv.scatter"
# ## Scatter and gather
#
# A convolution *gathers*: each output pixel collects from its window. Its adjoint goes along the
# same lines in the other direction, and *scatters*: each pixel of $y$ throws a copy of the kernel,
# multiplied by its own value, onto the picture, where the copies overlap and add up. The lines
# are the same; only the direction is another. Here in one dimension, kernel 3 and stride 2:

# %% id="conv.lines"
def diagram(k, stride, count=5):
    """Which pixels of x (below) belong to which pixel of y (above)."""
    n = (count - 1) * stride + k
    sheet = Drawing(n * 34 + 40, 190, f"kernel {k}, stride {stride}")
    touched = [0] * n
    for i in range(count):
        at = (40 + 34 * (i * stride + (k - 1) / 2), 40)
        for p in range(k):
            touched[i * stride + p] += 1
            sheet.line([at, (40 + 34 * (i * stride + p), 130)], "soft", 1.2)
        sheet.box((at[0] - 13, 27), (26, 26), "glow", "orange", 4)
        sheet.text(at, f"y{i}", "ink", 12)
    for a, times in enumerate(touched):
        sheet.box((40 + 34 * a - 13, 117), (26, 26), "wash", "blue", 4)
        sheet.text((40 + 34 * a, 130), f"x{a}", "ink", 12)
        colour = "orange" if times > 1 else "soft"
        sheet.text((40 + 34 * a, 158), str(times), colour, 13, bold=True)
    title = f"kernel {k}, stride {stride}: how many y reach each x"
    sheet.text((6, 12), title, "soft", 12, "start")
    return sheet, touched


sheet, touched = diagram(3, 2)
print("kernel 3, stride 2:", touched)
assert touched == [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1]
show(sheet, "conv-scatter-3",
     "Kernel 3, stride 2: the numbers below count the lines")

# %% [markdown] id="conv.transposed.task"
# ## Your turn: scatter
#
# Write the transposed convolution of one picture `y` with one kernel `w`, without padding: start with
# zeros, and let every pixel of `y` throw its copy of the kernel. The result has
# $(n - 1)\,s + k$ rows for the $n$ rows of `y`.

# %% id="conv.transposed" exercise=true points=2 time=10 uses=["conv.start"] stub="raise NotImplementedError"
def scatter(y, w, stride):
    """x[i·s + p, j·s + q] += y[i, j] · w[p, q], for all i, j, p, q"""
    # solution
    (h, wide), (kh, kw) = y.shape, w.shape
    x = np.zeros(((h - 1) * stride + kh, (wide - 1) * stride + kw))
    for i in range(h):
        for j in range(wide):
            a, b = i * stride, j * stride
            x[a : a + kh, b : b + kw] += y[i, j] * w
    return x
    # end


# %% id="conv.transposed.check" check="conv.transposed" hint1="Two loops are enough, over the pixels of y: the copy of the kernel lands on a slice of x that is kh rows high and kw columns wide." hint2="`x[i * stride : i * stride + kh, j * stride : j * stride + kw] += y[i, j] * w`"
def scatter_is_the_adjoint(y, w, stride):
    found = scatter(y.copy(), w.copy(), stride)
    right = reference.conv_transpose2d(y[None, None], w[None, None], None, (stride, stride))[0, 0]
    check.compare(found, right, "scatter")


small = check.draw.tuples(check.draw.integers(1, 3), check.draw.integers(1, 3))
check.law("scatter", scatter_is_the_adjoint, y=check.some.arrays(small), w=check.some.arrays(small),
          stride=check.draw.integers(1, 3))

# %% [markdown] id="conv.checker"
# ## Where checkerboards come from
#
# Look at the numbers in the diagram again: 1, 2, 1, 2, 1, 2. A generator uses the transposed
# convolution to make a picture twice as large: stride 2. With a kernel of 3, every second pixel
# receives two contributions, and its neighbours one. In two dimensions the pattern is 1, 2 and 4.
# A network has to *learn* to work against it, everywhere and always, and rarely does so
# completely: generated pictures of the early days all have a faint chessboard on their cheeks.
# (The observation is by Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", 2016.)
#
# Let us see it without any learning. All of `y` is 1, and so is the kernel.

# %% id="conv.board" predict="Kernel 4 instead of 3, stride 2. How many different values has the middle of the result?" options=["1", "2", "3"] answer="1"
flat = np.ones((6, 6))
boards = {k: scatter(flat, np.ones((k, k)), 2) for k in (3, 4, 5, 6)}
middles = {}
for k, board in boards.items():
    middles[k] = {int(v) for v in board[k:-k, k:-k].flat}
    print(f"kernel {k}, stride 2: in the middle", sorted(middles[k]))
assert middles[3] == {1, 2, 4} and middles[4] == {4}
assert middles[5] == {4, 6, 9} and middles[6] == {9}

cut = [board[:12, :12] / board.max() for board in boards.values()]
show(grid(np.stack(cut)[:, None], columns=4, scale=12, value_range=(0, 1)),
     "conv-boards", "A flat picture, doubled with kernels of 3, 4, 5 and 6")

# %% [markdown] id="conv.cure"
# The even ones are clean. The rule is in the diagram: every pixel is reached equally often exactly
# if the stride divides the kernel's size. That is why DCGAN, the generator of lesson 9, doubles with
# kernel 4, stride 2. (An
# even kernel only makes it *possible* to be smooth. Weights that differ still leave a pattern; but
# now a network can learn weights that leave none.) The other cure is to separate the two jobs: make
# the picture larger by repeating pixels, and convolve afterwards with stride 1, where nothing is
# uneven.
#
# Here are the three ways, with random weights, on a smooth picture. The number is how much
# neighbouring pixels differ.

# %% id="conv.cured"
def patterns(seed=0):
    """A smooth picture, doubled three ways, with random kernels."""
    r = np.random.default_rng(seed)
    i, j = np.mgrid[0:12, 0:12] / 11
    smooth = 0.4 + 0.3 * np.sin(3 * i) * np.cos(2 * j)
    three, four = r.uniform(0.5, 1, (3, 3)), r.uniform(0.5, 1, (4, 4))
    repeated = np.repeat(np.repeat(smooth, 2, 0), 2, 1)
    return (scatter(smooth, three, 2), scatter(smooth, four, 2),
            convolve(repeated, three, 1, 1))


def roughness(picture):
    """How much neighbours differ, relative to the mean, off the border."""
    inner = picture[4:-4, 4:-4]
    return float(np.abs(np.diff(inner, axis=0)).mean() / inner.mean())


rough = [roughness(p) for p in patterns()]
print("differences between neighbours, relative to the mean:")
for way, value in zip(("kernel 3, stride 2", "kernel 4, stride 2",
                       "repeat, then kernel 3"), rough, strict=True):
    print(f"  {way:<22} {value:.2f}")
assert rough[0] > 3 * rough[1] and rough[0] > 10 * rough[2]
cut = [p[:24, :24] / p.max() for p in patterns()]
show(grid(np.stack(cut)[:, None], columns=3, scale=7, value_range=(0, 1)),
     "conv-cured",
     "Kernel 3, stride 2; kernel 4, stride 2; repeat, then kernel 3")

# %% [markdown] id="conv.detective"
# ## Two bugs
#
# Both are in `minigen/ops/conv.py`, in a backward that you can now read: it consists of the other
# two members of the trio.

# %% id="conv.symptom"
def trio_is_right(f, geometry):
    """Gradients of a convolution at small shapes, by the formula."""
    small = check.draw.integers(1, 2)
    sizes = check.draw.shared(check.draw.tuples(  # of both arrays at once
        small, small, small, check.draw.integers(2, 4),
        check.draw.integers(1, 3), small), key="sizes")
    x = sizes.map(lambda s: (s[0], s[1], s[3], s[3]))
    w = sizes.map(lambda s: (s[1], s[1], s[4], s[5]))
    with use(rung=0):
        check.gradients(lambda x, w: f(x, w, geometry), order=1,
                        x=check.some.arrays(x), w=check.some.arrays(w))


def symptom(bug, name, f):
    with check.planted(load(bug, name)):
        try:
            trio_is_right(f, 2)
        except check.Failed as found:
            verdict = str(found).partition("\nsmallest")[0]
            print(verdict)
            return verdict
    return ""


def down(x, w, stride):
    return F.conv2d(x, w, None, stride, 1)


def up(y, w, stride):
    return F.conv_transpose2d(y, w, None, stride, 1)


found = symptom(
    "conv_kernels/image-gradient-with-the-kernel-upside-down",
    "Conv2d", down,
)
assert "gradient of x" in found and "gradient of w" not in found

# %% [markdown] id="conv.upside.task"
# ### Case 1
#
# The kernel's gradient is right, the picture's is not. The last layer of a network learns well, for
# its kernel needs only the former. What is passed on to the layers before it is wrong.

# %% id="conv.upside" exercise=true points=1 time=10 uses=["conv.start", "conv.symptom"] bug="conv_kernels/image-gradient-with-the-kernel-upside-down" of="Conv2d"
from minigen.ops.conv import Conv2d

# %% id="conv.upside.check" check="conv.upside" hint1="Which line makes gx? It should be the transposed convolution of gy with the same kernel that forward used." hint2="`w[:, :, ::-1]` is the kernel with its rows in reverse order."
from minigen.lesson import check

with check.planted(Conv2d):
    trio_is_right(down, 2)

# %% id="conv.halved.symptom"
found = symptom(
    "conv_kernels/weight-gradient-of-the-transposed-convolution-halved",
    "ConvTranspose2d", up,
)
assert "0.5 times" in found and "gradient of w" in found

# %% [markdown] id="conv.halved.task"
# ### Case 2
#
# A generator whose kernels learn at half the rate of everything else. With Adam, which divides every
# gradient by its usual size, nobody would notice.

# %% id="conv.halved" exercise=true points=1 time=5 uses=["conv.start", "conv.symptom"] bug="conv_kernels/weight-gradient-of-the-transposed-convolution-halved" of="ConvTranspose2d"
from minigen.ops.conv import ConvTranspose2d

# %% id="conv.halved.check" check="conv.halved" hint1="The judge names the argument and the factor. Which line makes that argument's gradient?" hint2="gw is the third member of the trio, of gx and y, and nothing else: no factor."
from minigen.lesson import check

with check.planted(ConvTranspose2d):
    trio_is_right(up, 2)

# %% [markdown] id="conv.ladder"
# ## The ladder, on your machine
#
# minigen has the convolution several times. Each is a rung of a ladder:
#
# - rung 0 is the formula, in Python;
# - rung 1 is the *same loops*, compiled by Numba;
# - rung 2 is a product of matrices over windows that are gathered piece by piece, on all cores, with
#   the vector registers full;
# - rung 3 lays the images of a batch side by side in the registers instead;
# - rung 4 lays the pixels of a row side by side there;
# - rung 5, the last, takes whichever of these three is cheapest for the shapes at hand.
#
# All have one signature, and all are tested against rung 0. `use(rung=k)` chooses one. Compiling
# takes a while the first time, and is kept for the next; it is timed apart.

# %% id="conv.times" predict="How much faster than rung 0 is rung 2 on your machine: about 10, about 100, or 1000 times and more?" options=["10", "100", "1000 and more"] answer="1000 and more"
x32 = rng.standard_normal((2, 8, 20, 20)).astype(np.float32)
w32 = rng.standard_normal((8, 8, 3, 3)).astype(np.float32)


def conv(rung):
    with use(rung=rung):
        conv2d = backend_of(x32).conv2d
        return conv2d(x32, w32, None, stride=(1, 1), padding=(1, 1))


times, results = {}, {}
for rung in (0, 1, 2):
    begin = time.perf_counter()
    results[rung] = conv(rung)
    first = time.perf_counter() - begin
    tries = []
    for _ in range(1 if rung == 0 else 15):
        begin = time.perf_counter()
        conv(rung)
        tries.append(time.perf_counter() - begin)
    times[rung] = min(tries)
    gain = times[0] / times[rung]
    print(f"rung {rung}: {times[rung] * 1e3:10.3f} ms "
          f"{gain:8.0f} times as fast   (first call {first:.1f} s)")
assert times[0] / times[2] > 1000
rungs = [kernel.__name__ for kernel in LADDERS["conv2d"][1:]]
assert rungs == ["conv2d_1_direct", "conv2d_2_patches", "conv2d_3_lanes",
                 "conv2d_4_rows", "conv2d_5_chosen"]
size = np.abs(results[0]).max()
for rung in (1, 2):
    assert np.abs(results[rung] - results[0]).max() < 1e-4 * size

# %% id="conv.plot"
sheet = Drawing(560, 150, "The time of each rung, in powers of ten")
longest = np.log10(times[0] * 1e6)
names = ("the formula", "loops, compiled", "windows × matrix")
for rung, name in enumerate(names):
    y = 30 + 42 * rung
    sheet.text((10, y), f"{rung}  {name}", "ink", 13, "start")
    length = max(4.0, 300 * np.log10(times[rung] * 1e6) / longest)
    colour = "blue" if rung else "orange"
    sheet.box((150, y - 11), (length, 22), colour, None, 3)
    label = f"{times[rung] * 1e3:.3g} ms"
    sheet.text((156 + length, y), label, "soft", 12, "start")
show(sheet, "conv-ladder",
     "The ladder of the convolution, timed on this machine (logarithmic)")

# %% [markdown] id="conv.product"
# ## In minigen
#
# Open `minigen/ops/conv.py`: three classes, each of a few lines, and each backward made of the other
# two. Then look at how a generator uses them.

# %% id="conv.read"
import inspect

from minigen.models import dcgan

print(inspect.getsource(dcgan.Generator.__init__))
upwards = inspect.getsource(dcgan.Generator)
downwards = inspect.getsource(dcgan.Discriminator)
assert "ConvTranspose2d(cin, cout, 4, 2, 1" in upwards
assert "Conv2d(cin, cout, 4, 2, 1" in downwards
for n in (4, 7, 14):
    assert len(scatter(np.ones((n, n)), np.ones((4, 4)), 2)) - 2 == 2 * n

# %% [markdown] id="conv.end"
# Kernel 4, stride 2, padding 1, at every doubling: up in the generator, which makes pictures, and down
# in the discriminator, which judges them. (The generator's first layer is another: it spreads a row of
# numbers out into the first small picture.) You know now why it is these three numbers: 2 divides 4,
# and of the $2(n - 1) + 4$ rows that scatter gives, the padding takes one at each edge, which
# leaves $2n$, exactly twice as many.
#
# PyTorch has the same trio under the names `conv2d`, `conv_transpose2d` and
# `torch.nn.grad.conv2d_weight`; its "convolution", like ours, does not turn the kernel around as the
# mathematicians' does.
#
# **What to remember.** A convolution is linear in the picture and in the kernel; multiply by a
# cotangent, and you have one form whose three slopes are all that is ever needed. Gather and
# scatter run along the same lines. And a stride that does not divide the kernel paints a chessboard.
