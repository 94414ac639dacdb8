# %% [raw]
# title = "Arrays"
# level = 1
# needs = ["01_gradient"]
# read_minutes = 30
# cpu_minutes = 0.1
# memory_mb = 200
# seed = 2

# %% [markdown] id="arrays.title"
# # Arrays
#
# The engine of lesson 1 is right, and hopelessly slow: it makes a Python object for every single
# number. A picture of 28 by 28 pixels is 784 objects before anything has happened to it.
#
# The cure is to let one object stand for a whole array of numbers, and to let NumPy do the
# arithmetic in one go. The walk stays as it was. What changes is one thing only, and it is the one
# that more home-made engines get wrong than any other: arrays of *different* shapes can be added,
# because NumPy repeats the smaller one, and a backward pass has to take that back.
#
# At the end you have an engine that fits on two screens, and agrees with minigen's own on random
# programs, in the first 12 digits.

# %% id="arrays.start"
import time

import numpy as np

from minigen.draw import plot
from minigen.lesson import check, quick, show

# %% [markdown] id="arrays.slow"
# ## What one object per number costs
#
# Let us measure before we build. Here is the sum of products $\sum_k a_k b_k$, once with Python
# numbers, one at a time, and once with arrays.

# %% id="arrays.time" predict="10,000 products, and their sum. How many times faster is NumPy: about 2, about 10, or 30 and more?" options=["2", "10", "30 and more"] answer="30 and more"
n = 10_000
rng = np.random.default_rng(2)
a, b = rng.standard_normal(n), rng.standard_normal(n)
lists = a.tolist(), b.tolist()


def seconds(f, tries=20):
    """The quickest of some tries; other programs only make it slower."""
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return min(times)


slow = seconds(lambda: sum(x * y for x, y in zip(*lists, strict=True)))
fast = seconds(lambda: float(a @ b))
print(f"Python: {slow * 1e6:8.0f} microseconds")
print(f"NumPy:  {fast * 1e6:8.0f} microseconds")
print(f"{slow / fast:.0f} times faster")
assert slow / fast > 30

# %% [markdown] id="arrays.slow2"
# And a `Value` of lesson 1 costs more still, because every product is a new object with its notes. So: arrays.
#
# ## What is a slope, when the value is an array?
#
# In lesson 1 each value had one number, `grad`: how fast the result moves when this value moves.
# Now a value has, say, 6 numbers in 2 rows of 3. Each of the six can be nudged, so there are six
# slopes; it is natural to keep them in an array *of the same shape*. That is the first rule:
#
# > The gradient of an array has the shape of the array.
#
# And the local slopes? If $y = f(x)$ takes 6 numbers to 4, there are 24 of them, a table that
# mathematicians call the Jacobian. For two pictures, it would have more than half a million
# entries. Nobody builds it. Look at what lesson 1 did with a local slope: it multiplied it by the
# gradient that came from above, and added up. So we only need to know **what happens to a
# gradient** when it passes an operation from its output to its inputs:
#
# $$g_{x_j} = \sum_i g_{y_i}\,\frac{\partial y_i}{\partial x_j}$$
#
# This is a function of the incoming gradient, the *vector-Jacobian product*, and for each operation
# it is a line of array code. The incoming gradient has a name too: the **cotangent** of $y$.
#
# Multiplication, element by element: $y_i = a_i b_i$. Only $i = j$ has a slope, so the cotangent of
# `a` is `gy * b`. The sum of all elements: every element has the slope 1, so the cotangent of `x`
# is `gy`, repeated in the shape of `x`. Neither needs a table.

# %% [markdown] id="arrays.engine"
# ## The engine, again
#
# Compare it with lesson 1 line by line. A parent's slope has become a function, `pull`, that turns
# the cotangent of the result into the cotangent of that parent. The walk is the same walk.

# %% id="arrays.value"
class Array:
    """A NumPy array that remembers what it was computed from."""

    def __init__(self, data, parents=(), pulls=()):
        self.data = np.asarray(data, dtype=float)
        self.grad = np.zeros_like(self.data)
        self.parents = parents
        # One function for each parent: it turns the cotangent of self
        # into the cotangent of that parent.
        self.pulls = pulls

    def backward(self):
        """Gradients of self, one number, for all it was computed from."""
        if self.data.shape != ():
            raise ValueError("begin at one number: take a sum first")
        self.grad = np.ones(())
        for value in reversed(in_order(self)):
            pairs = zip(value.parents, value.pulls, strict=True)
            for parent, pull in pairs:
                parent.grad = parent.grad + pull(value.grad)

    def __add__(self, other):
        return add(self, other)

    def __mul__(self, other):
        return mul(self, other)

    def __matmul__(self, other):
        return matmul(self, other)


def in_order(result):
    """All arrays that result was computed from, parents first."""
    order, seen, todo = [], set(), [(result, False)]
    while todo:
        value, parents_done = todo.pop()
        if parents_done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            todo.append((value, True))
            todo += [(parent, False) for parent in value.parents]
    return order


# %% id="arrays.ops"
def as_array(x):
    return x if isinstance(x, Array) else Array(x)


def add(a, b):
    a, b = as_array(a), as_array(b)
    return Array(a.data + b.data, (a, b), (lambda g: g, lambda g: g))


def mul(a, b):
    a, b = as_array(a), as_array(b)
    pulls = (lambda g: g * b.data, lambda g: g * a.data)
    return Array(a.data * b.data, (a, b), pulls)


def total(x):
    """The sum of all elements."""

    def repeated(g):
        return np.broadcast_to(g, x.data.shape)

    return Array(x.data.sum(), (x,), (repeated,))


def tanh(x):
    y = np.tanh(x.data)
    return Array(y, (x,), (lambda g: g * (1 - y * y),))


x = Array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
y = total(x * x)
y.backward()
print("sum of squares:", y.data)
print(x.grad)
assert y.data == 91
assert 28 * 28 == 784
assert 784**2 > 500_000  # the table of slopes between two pictures
assert (x.grad == 2 * x.data).all()

# %% [markdown] id="arrays.matmul.task"
# ## Your turn: the product of matrices
#
# Nearly all arithmetic in a network is this operation: $C = A B$, or
#
# $$C_{ij} = \sum_k A_{ik} B_{kj}$$
#
# Find the two cotangents. A good way is to follow the shapes. `A` is (n, m), `B` is (m, p), so `C`
# and its cotangent `g` are (n, p). The cotangent of `A` must be (n, m): from `g` (n, p) and `B`
# (m, p read backwards), there is just one product of matrices that fits. (Shapes are not a proof.
# Write the sum down for one element $A_{ik}$, and see that it is right.)
#
# Write `matmul(a, b)` for two Arrays with two axes each.

# %% id="arrays.matmul" exercise=true points=2 time=10 uses=["arrays.start", "arrays.value", "arrays.ops"] stub="raise NotImplementedError"
def matmul(a, b):
    """The Array a @ b, for a of shape (n, m) and b of shape (m, p)."""
    # solution
    pulls = (lambda g: g @ b.data.T, lambda g: a.data.T @ g)
    return Array(a.data @ b.data, (a, b), pulls)
    # end


# %% id="arrays.matmul.check" check="arrays.matmul" hint1="C is (n, p) and so is g. The cotangent of A is (n, m) = (n, p) @ (p, m), and (p, m) is the shape of B.T." hint2="lambda g: g @ b.data.T for a, and lambda g: a.data.T @ g for b."
def product(a, b):
    return matmul(Array(a), Array(b)).data


def right_product(a, b):
    return a @ b


size = check.some.sizes(zero=False, most=4)
sizes = check.draw.shared(check.draw.tuples(size, size, size), key="n, m, p")


def matmul_is_right(a, b, weights):
    check.compare(product(a, b), a @ b, "matmul")
    left, right = Array(a), Array(b)
    total(mul(matmul(left, right), Array(weights))).backward()
    check.compare(left.grad, check.measured(lambda v: ((v @ b) * weights).sum(), a),
                  "matmul: the cotangent of a", 1e-6)
    check.compare(right.grad, check.measured(lambda v: ((a @ v) * weights).sum(), b),
                  "matmul: the cotangent of b", 1e-6)


check.law("the product, and its slopes when it is weighed and summed", matmul_is_right,
          a=check.some.arrays(sizes.map(lambda s: s[:2])),
          b=check.some.arrays(sizes.map(lambda s: s[1:])),
          weights=check.some.arrays(sizes.map(lambda s: s[::2])))

# %% [markdown] id="arrays.broadcast"
# ## Broadcasting, and what it hides
#
# A layer of a network computes `x @ w + b`: many rows of `x` at once, say a *batch* of 32 pictures,
# and one bias `b` for each output. `x @ w` is (32, 10) and `b` is (10,). NumPy adds them anyway: it
# treats `b` as if it were written down 32 times. That is **broadcasting**, and it follows two rules:
#
# 1. a missing axis at the front is added, with size 1;
# 2. an axis of size 1 is repeated to the other's size.
#
# Convenient. And what does our `add` do with it in the backward pass?

# %% id="arrays.clash" predict="x is (32, 10) and b is (10,). After total(x + b).backward(), what shape does our b.grad have?" options=["(10,)", "(32, 10)"] answer="(32, 10)"
x, b = Array(rng.standard_normal((32, 10))), Array(np.zeros(10))
total(x + b).backward()
print("b:", b.data.shape, "  b.grad:", b.grad.shape)
assert b.grad.shape == (32, 10)
assert b.grad.size == 320 and b.data.size == 10

# %% [markdown] id="arrays.broadcast2"
# The first rule is broken: 320 slopes for 10 numbers. And it gets worse, quietly: a training step
# `b.data - 0.1 * b.grad` would turn `b` into an array of (32, 10), NumPy would not complain, and
# from then on every picture of the batch would have a bias of its own.
#
# What *should* the slope be? Think of broadcasting as what it is: `b[j]` is **used 32 times**, once
# in each row. Lesson 1 has the answer: over paths, add. So the cotangent must be summed over the
# rows. In general:
#
# > Backward **sums** over every axis that forward **repeated**.
#
# Repeating and summing belong together like the two sides of a coin: the gradient of a repetition
# is a sum, and (look at `total` above) the gradient of a sum is a repetition.

# %% [markdown] id="arrays.unbroadcast.task"
# ## Your turn: undo the broadcast
#
# Write `unbroadcast(g, shape)`: sum `g` so that it has the given shape. Two steps, one for each of
# NumPy's rules: sum away the axes that were added at the front, then sum over the axes that had
# size 1 and were repeated, keeping them with size 1 (`keepdims=True`).
#
# It is a pure function of arrays, and it has to work for any shapes that can be broadcast, those
# with a 0 in them included.

# %% id="arrays.unbroadcast" exercise=true points=3 time=15 uses=["arrays.start"] stub="raise NotImplementedError"
def unbroadcast(g, shape):
    """g summed over the axes along which this shape was repeated."""
    # solution
    added = g.ndim - len(shape)
    g = g.sum(axis=tuple(range(added)))
    ones = [k for k, n in enumerate(shape) if n == 1]
    repeated = tuple(k for k in ones if g.shape[k] != 1)
    return g.sum(axis=repeated, keepdims=True)
    # end


# %% id="arrays.unbroadcast.check" check="arrays.unbroadcast" hint1="How many axes were added in front? g.ndim - len(shape). np.sum takes a tuple of axes, and an empty tuple sums over nothing." hint2="Then the axes k with shape[k] == 1 and g.shape[k] != 1: g.sum(axis=that tuple, keepdims=True). keepdims, because shape has a 1 there."
def right_unbroadcast(g, shape):
    """By the definition: every element of g is added to the place that it was repeated from."""
    out = np.zeros(shape)
    places = np.broadcast_to(np.arange(out.size).reshape(shape), g.shape)
    np.add.at(out.reshape(-1), places.reshape(-1), g.reshape(-1))
    return out


def unbroadcast_is_right(shapes, seed):
    small, other = shapes
    wide = np.broadcast_shapes(small, other)
    g = np.random.default_rng(seed).standard_normal(wide)
    check.compare(unbroadcast(g, small), right_unbroadcast(g, small),
                  f"unbroadcast of {wide} to {small}")


check.law("unbroadcast sums what was repeated", unbroadcast_is_right,
          shapes=check.some.broadcastable(), seed=check.draw.integers(0, 99))

# %% [markdown] id="arrays.mend"
# Those shapes came from the strategy that minigen's own tests draw from: sizes of 1, missing axes,
# and now and then a 0, which is where hand-written code likes to break.
#
# Now mend the engine. We could call `unbroadcast` in `add`, in `mul`, and in every operation to
# come; the sources of chainer, an older library of this kind, have some thirty such calls, and the one
# that is forgotten is a bug that shows in no picture. It is better to do it **once**, in the walk, where
# nobody can forget it.

# %% id="arrays.mended"
def backward(result):
    """As Array.backward, and every cotangent fits its array."""
    result.grad = np.ones(())
    for value in reversed(in_order(result)):
        for parent, pull in zip(value.parents, value.pulls, strict=True):
            g = unbroadcast(pull(value.grad), parent.data.shape)
            parent.grad = parent.grad + g


Array.backward = backward

x, b = Array(rng.standard_normal((32, 10))), Array(np.zeros(10))
total(x + b).backward()
print("b.grad:", b.grad.shape, b.grad[:3])
assert b.grad.shape == (10,) and (b.grad == 32).all()

# %% [markdown] id="arrays.danger"
# One warning, because doing it once has a price. `unbroadcast` makes *anything* fit that can be
# summed into shape, a wrong cotangent included. If the `pull` of some other operation returned a
# cotangent of shape (32, 10) where (10,) belongs, because of a mistake that has nothing to do with
# broadcasting, the walk would now hide it. minigen therefore asks each operation to declare that it
# broadcasts, and for all the others a wrong shape is an error with the operation's name in it.
#
# Here is one to see that with. In minigen a value that remembers is a `Tensor`, and an operation is a
# `Function`: its `forward` takes and gives arrays, its `backward` is all the pulls in one.

# %% id="arrays.refused"
import minigen
from minigen import Function, Tensor


class Careless(Function):
    """y = x, with a cotangent of the wrong shape."""

    def forward(self, x):
        return x.copy()

    def backward(self, gy):
        return gy.reshape((1, *gy.shape))


x = Tensor(np.ones(3), requires_grad=True)
y = Careless()(x).sum()
try:
    minigen.grad(y, [x])
    said = ""
except RuntimeError as error:
    said = str(error)
print(said)
assert "careless.backward returned a gradient of shape (1, 3)" in said

# %% [markdown] id="arrays.agree"
# ## The proof: agreement on random programs
#
# Tests with examples show what their author thought of. Let us have the computer write programs: it
# begins with a few arrays of shapes that fit each other, and combines random pairs by `+`, `*` and
# `tanh`, a dozen times. Each program is run by your engine and by minigen's. Value and gradients
# must agree; with 16 digits to compute with, 12 of them is a fair demand.

# %% id="arrays.random"
OPERATIONS = ["add", "mul", "tanh"]


def program(rng, steps):
    """Steps (operation, i, j): i and j say which of the values before."""
    out = []
    for have in range(3, 3 + steps):  # three values are given
        i, j = rng.integers(have, size=2)
        out.append((OPERATIONS[rng.integers(3)], i, j))
    return out


def run(steps, inputs, table):
    values = list(inputs)
    for name, i, j in steps:
        chosen = [values[i]] if name == "tanh" else [values[i], values[j]]
        values.append(table[name](*chosen))
    return table["sum"](values[-1])


ours = {"add": add, "mul": mul, "tanh": tanh, "sum": total}
theirs = {"add": minigen.functional.add, "mul": minigen.functional.mul,
          "tanh": minigen.functional.tanh, "sum": minigen.functional.sum}


def disagreement(seed):
    """The largest relative difference on one random program."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 5, 2)
    shapes = [(rows, columns), (columns,), (rows, 1)]
    data = [rng.standard_normal(s) for s in shapes]
    steps = program(rng, 12)
    arrays = [Array(d) for d in data]
    run(steps, arrays, ours).backward()
    tensors = [Tensor(d, requires_grad=True) for d in data]
    result = run(steps, tensors, theirs)
    gradients = minigen.grad(result, tensors)
    worst = 0.0
    for mine, other in zip(arrays, gradients, strict=True):
        assert mine.grad.shape == other.shape
        scale = np.abs(other.numpy()).max() + 1
        worst = max(worst, np.abs(mine.grad - other.numpy()).max() / scale)
    return worst


programs = quick(300, 60)
worst = [disagreement(seed) for seed in range(programs)]
print(f"{programs} programs; the largest difference: {max(worst):.1e}")
assert max(worst) < 10.0**-12  # 12 digits

# %% [markdown] id="arrays.learn"
# ## What it is good for
#
# With arrays, the network of lesson 1 is one line, and all points go through at once. Here it
# learns a curve: 200 points of a wave, a hidden layer of 16, and gradient descent.

# %% id="arrays.wave"
rng = np.random.default_rng(2)
points = rng.uniform(-3, 3, (200, 1))
wishes = np.sin(2 * points) + 0.1 * rng.standard_normal((200, 1))
w1 = Array(2 * rng.standard_normal((1, 16)))
b1 = Array(rng.standard_normal(16))
w2 = Array(rng.standard_normal((16, 1)) / 4)
b2 = Array(np.zeros(1))
parameters = [w1, b1, w2, b2]


def network(x):
    return tanh(as_array(x) @ w1 + b1) @ w2 + b2


losses = []
for _ in range(quick(3000, 1500)):
    error = network(points) + (-wishes)
    loss = total(error * error) * (1 / len(points))
    for p in parameters:
        p.grad = np.zeros_like(p.data)
    loss.backward()
    for p in parameters:
        p.data = p.data - 0.05 * p.grad
    losses.append(float(loss.data))
print(f"mean squared error {losses[0]:.3f} -> {losses[-1]:.3f}")
assert losses[-1] < 0.1 < 0.4 < losses[0]

grid = np.linspace(-3, 3, 200)
show(plot({"what it learnt": (grid, network(grid[:, None]).data[:, 0])},
          {"points": (points[:, 0], wishes[:, 0])},
          title="Sixteen bends make a wave", x="x", y="y"),
     "arrays-wave", "The curve that the network has learnt")

# %% [markdown] id="arrays.product"
# ## In minigen
#
# The two functions that belong together are called `sum_to` and `broadcast_to`, and each is the
# other's backward. Open them: the class `SumTo` in `minigen/function.py` is your `unbroadcast`.

# %% id="arrays.read"
import inspect

from minigen.function import BroadcastTo, SumTo

print(inspect.getsource(SumTo))
print(inspect.getsource(BroadcastTo.backward))
assert "broadcast_to" in inspect.getsource(SumTo.backward)
assert "sum_to" in inspect.getsource(BroadcastTo.backward)

# %% [markdown] id="arrays.end"
# You will have noticed that minigen's `backward` returns *Tensors*, not arrays: it computes with
# operations that can be recorded themselves. Why one should want that is the second half of the
# next lesson. The first half is a question that this lesson has dodged. We compared with minigen's
# engine, and believed minigen. **Why should anyone believe minigen?**
#
# **What to remember.** A gradient has the shape of its array. An operation's backward turns a
# cotangent into cotangents, and never builds the table of all slopes. And backward sums over what
# forward repeated.
