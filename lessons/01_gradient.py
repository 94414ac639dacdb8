# %% [raw]
# title = "A gradient by hand"
# level = 1
# needs = []
# read_minutes = 30
# cpu_minutes = 0.1
# memory_mb = 150
# seed = 1

# %% [markdown] id="gradient.title"
# # A gradient by hand
#
# Every program that learns does one thing over and over: it asks *if I turned this knob a little, which way would the
# result go, and how fast?*, and then turns all its knobs a little in the better direction. The answer to that question,
# for all knobs at once, is the **gradient**. An image generator has millions of knobs, and gets its answer in the time
# of a few runs of the program itself.
#
# That sounds impossible, and the trick behind it fits on one page. In this lesson you write the page, starting from an
# empty file: no array library, no framework, plain Python numbers. At the end a small network of your own making has
# learnt to tell two kinds of points apart, and you have a picture of what it believes.

# %% id="gradient.start"
import math
import random

from minigen.draw import Drawing, graph, plot
from minigen.lesson import check, quick, show

# %% [markdown] id="gradient.nudge"
# ## Nudging
#
# Here is a small program with three knobs, `a`, `b` and `c`. The honest way to find the slope along `a` is to nudge `a`
# by a small `h` and to look at what comes out:
#
# $$\frac{\partial f}{\partial a} \approx \frac{f(a+h,\,b,\,c) - f(a,\,b,\,c)}{h}$$
#
# The sign $\partial$ is only a reminder that the other knobs stay where they are.

# %% id="gradient.difference"
def f(a, b, c):
    return a * b + c * a


def slope_along_a(h):
    return (f(2 + h, -3, 10) - f(2, -3, 10)) / h


print("f =", f(2, -3, 10))
print("slope along a =", slope_along_a(0.001))
assert f(2, -3, 10) == 14
assert abs(slope_along_a(0.001) - 7) < 1e-6

# %% [markdown] id="gradient.nudge2"
# The slope is 7, and school calculus agrees: $f = a\,b + c\,a$, so $\partial f/\partial a = b + c = -3 + 10$.
#
# The formula says "let $h$ go to zero". A computer can be asked to do that literally, so let us try it on a curved
# function, $\sin$ at 1, whose slope is $\cos(1)$.

# %% id="gradient.smaller" predict="We make h ten times smaller, again and again, down to 1e-16. Will the error of the slope just keep shrinking?" options=["yes", "no"] answer="no"
exact = math.cos(1)
sizes = [10.0**-k for k in range(1, 17)]
errors = [abs((math.sin(1 + h) - math.sin(1)) / h - exact) for h in sizes]
for h, error in zip(sizes, errors, strict=True):
    print(f"h = {h:.0e}   error = {error:.1e}")
best = sizes[errors.index(min(errors))]
print("best h:", best)
assert 0.09 < best / 1e-8 < 11
assert sizes[-1] == 1e-16 and 0.9 < errors[-1] / exact <= 1
assert 1 + 10.0**-16 == 1 < 1 + 10.0**-15  # about 16 digits
show(plot({"nudged": ([-math.log10(h) for h in sizes], errors)}, log=True,
          title="The error of a nudged slope", x="-log10 of h", y="error"),
     "gradient-steps",
     "The error of a nudged slope, against the size of the nudge")

# %% [markdown] id="gradient.nudge3"
# The error falls, turns around near $h = 10^{-8}$, and at $10^{-16}$ nothing is left of the slope. There, $1 + h$ *is*
# 1 as far as the computer can tell: it keeps about 16 digits, and subtracting two nearly equal numbers throws most of
# them away. Keep this picture in mind. Nudging is a good **judge** (lesson 3 makes it an excellent one), but it is
# a poor **method**:
#
# - it is never exact, and
# - it costs one more run of the program *for every knob*. A million knobs, a million runs, for one step of learning.
#
# ## The other way: ask each operation what it does
#
# Look at the program again as a list of single operations:
#
#     u = a * b          with  a = 2, b = -3, c = 10
#     v = c * a
#     f = u + v
#
# Each line is so simple that its slopes are known to anyone who has seen a derivative. For `u = a * b`, a nudge of `a`
# is multiplied by `b`; a nudge of `b` is multiplied by `a`. For `f = u + v`, both slopes are 1. We call these the
# **local slopes**: what one operation does to a nudge, knowing nothing of the rest of the program.
#
# The chain rule says how to put them together: along a path, slopes **multiply**. A nudge of `c` passes through
# `v = c * a` (times `a`) and through `f = u + v` (times 1). So $\partial f/\partial c = 2 \cdot 1 = 2$.
#
# And `a`? It is used twice. A nudge of `a` reaches `f` on two paths, and both contribute: through `u` it arrives
# multiplied by $b = -3$, through `v` multiplied by $c = 10$. The output moves by the sum. That is all that *"gradients
# add up"* means: **along a path, multiply; over paths, add.**

# %% [markdown] id="gradient.engine"
# ## The engine
#
# Now the page of code. A `Value` is a number that remembers how it was made: which values it was computed from (its
# parents), and the local slope towards each of them. Arithmetic on Values does the arithmetic and takes notes.

# %% id="gradient.value"
class Value:
    """A number that remembers what it was computed from."""

    def __init__(self, data, parents=(), slopes=()):
        self.data = float(data)
        self.grad = 0.0  # d(result) / d(self), after backward()
        self.parents = parents
        self.slopes = slopes  # d(self) / d(parent), one for each parent

    def __add__(self, other):
        other = as_value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = as_value(other)
        slopes = (other.data, self.data)
        return Value(self.data * other.data, (self, other), slopes)

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        """Give every value that self was computed from its gradient."""
        self.grad = 1.0
        for value in reversed(in_order(self)):
            pairs = zip(value.parents, value.slopes, strict=True)
            for parent, slope in pairs:
                parent.grad += slope * value.grad


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


def in_order(result):
    """All values that result was computed from, and result itself, last.

    Each one comes after its parents.
    """
    order, seen = [], set()

    def visit(value):
        if value not in seen:
            seen.add(value)
            for parent in value.parents:
                visit(parent)
            order.append(value)

    visit(result)
    return order


# %% [markdown] id="gradient.engine2"
# Read `backward` once more, it is the heart of everything that follows in this course. It starts at the result, whose
# slope with respect to itself is 1. It then walks towards the inputs and, at each value, passes the value's gradient
# on to its parents, multiplied by the local slope. Multiply along a path, add over paths, in two lines of code.
#
# One walk, and **every** value has its gradient, however many there are. Let us see.

# %% id="gradient.first"
a, b, c = Value(2), Value(-3), Value(10)
result = a * b + c * a
result.backward()
print("f =", result.data)
print("df/da =", a.grad, "  df/db =", b.grad, "  df/dc =", c.grad)
assert result.data == 14
assert (a.grad, b.grad, c.grad) == (7, 2, 2)

# %% [markdown] id="gradient.draw"
# Here is what the engine has in memory: a graph. Values are boxes, and the arrows show which value was used for which.
# In each box: the number, and the gradient that the walk has left there. (Drawn before `backward()`, every slope in it
# would still be 0. It is the walk that fills them in, not the arithmetic.)

# %% id="gradient.picture"
def drawn(result, names, title):
    order = in_order(result)
    nodes = {
        id(v): [names.get(v, ""), f"{v.data:.4g}", f"slope {v.grad:.4g}"]
        for v in order
    }
    edges = [(id(parent), id(v)) for v in order for parent in v.parents]
    return graph(nodes, edges, title=title, marked=[id(result)])


u, v = result.parents
names = {a: "a", b: "b", c: "c", u: "a * b", v: "c * a", result: "f"}
title = "f = a*b + c*a, and the slope of f along each value"
show(drawn(result, names, title),
     "gradient-graph", "The graph that the engine walks")
before = a * b + c * a
assert all(v.grad == 0 for v in in_order(before) if v.parents)

# %% [markdown] id="gradient.addup"
# ## Three questions that everybody asks
#
# **Why `+=`, and not `=`?** Take the smallest program that uses a value twice.

# %% id="gradient.twice" predict="y = x + x at x = 3. What should x.grad be?" options=["1", "2", "6"] answer="2"
x = Value(3)
y = x + x
y.backward()
print("dy/dx =", x.grad)
assert x.grad == 2
assert y.slopes[-1] * y.grad == 1  # all that "=" would have left

# %% [markdown] id="gradient.reset"
# With `=` the second path would have overwritten the first, and the answer would be 1. The bug is famous, because it
# hides: any program that uses each value only once is still right.
#
# **Why must gradients be reset?** The same `+=` that adds up paths cannot tell a second path from a second call.

# %% id="gradient.again" predict="We compute y = x * x at x = 3 anew and call backward() again, without touching x. Its slope is 6. What is x.grad after two such calls?" options=["6", "12", "36"] answer="12"
x = Value(3)
found = []
for call in (1, 2):
    y = x * x
    y.backward()
    print("after call", call, "x.grad =", x.grad)
    found.append(x.grad)
assert found == [6, 12]

# %% [markdown] id="gradient.reset2"
# Twelve: two times 6. So whoever trains with such an engine sets `x.grad = 0` before each new walk (PyTorch's
# `zero_grad`). It is worth knowing that this is a choice and not a law: minigen's `grad(loss, parameters)` *returns* the
# gradients instead of leaving them lying about, and then there is nothing to reset. You will be glad of that in lesson
# 9, where two networks share one graph.
#
# **Why that order?** `in_order` puts each value after its parents, and `backward` walks the list from its end. So when
# a value passes its gradient on, everybody who uses it has already been visited: its `grad` is complete. This is called
# a topological order. What happens without it? Let us walk as one might at first: start at the result and simply
# follow the arrows, passing on at once.

# %% id="gradient.hasty" predict="p = x * 2, q = p * 3, y = p + q. At any x, dy/dx = 2 + 6 = 8. Is 8 what the hasty walk finds?" options=["yes", "no"] answer="no"
def hasty_backward(result):
    """Follow the arrows, first come, first served; each value once."""
    result.grad = 1.0
    waiting, seen = [result], set()
    while waiting:
        value = waiting.pop(0)
        if value in seen:
            continue
        seen.add(value)
        pairs = zip(value.parents, value.slopes, strict=True)
        for parent, slope in pairs:
            parent.grad += slope * value.grad
            waiting.append(parent)


def diamond():
    x = Value(5)
    p = x * 2
    q = p * 3
    return x, p + q


x, y = diamond()
hasty_backward(y)
print("hasty walk:       ", x.grad)
hasty = x.grad
x, y = diamond()
y.backward()
print("in order:         ", x.grad)
assert hasty == 2 and x.grad == 8

# %% [markdown] id="gradient.hasty2"
# The hasty walk met `p` before `q` had told it anything, passed on the 1 that it had so far, and never came back: it
# finds 2 instead of 8. Such a shape, where two paths part and meet again, is called a diamond. Every network is full of
# them.
#
# (Could it just visit `p` again? It could, once for every path. But the number of paths grows explosively: a chain of
# 30 diamonds, one after the other, has $2^{30}$ of them, more than a thousand million. In order, the walk meets 31
# values.)

# %% id="gradient.paths"
x = Value(1)
y = x
for _ in range(30):
    y = y + y  # two paths from each y to the next
y.backward()
print("paths:", x.grad, "  values walked:", len(in_order(y)))
assert x.grad == 2**30 > 1e9 and len(in_order(y)) == 31

# %% [markdown] id="gradient.tanh.task"
# ## Your turn: a bend
#
# With `+` and `*` alone, every network would be a polynomial of low degree, and stacking sums onto sums gives a sum.
# What a neuron needs is a bend: a function that is not a straight line. The classical one is $\tanh$, which is steep in
# the middle and flat at both ends. Its slope can be written with its own value:
#
# $$y = \tanh(x) \qquad \frac{\partial y}{\partial x} = 1 - y^2$$
#
# Write `tanh(x)` for a Value: compute the number with `math.tanh`, and hand over the parent and the local slope, as
# `__add__` and `__mul__` do.

# %% id="gradient.tanh" exercise=true points=1 time=5 uses=["gradient.start", "gradient.value"] stub="raise NotImplementedError"
def tanh(x):
    """The Value tanh(x), which remembers x."""
    # solution
    y = math.tanh(x.data)
    return Value(y, (x,), (1 - y * y,))
    # end


# %% id="gradient.tanh.check" check="gradient.tanh" hint1="The last line is `return Value(number, (x,), (slope,))`. The number is math.tanh of x.data: of the number, not of the Value." hint2="The slope at this x is 1 - y * y, where y is the number that you have just computed. It is a number too; the comma in (slope,) makes it a tuple of one."
def value_of_tanh(x):
    return tanh(Value(x)).data


def slope_of_tanh(x):
    v = Value(x)
    tanh(v).backward()
    return v.grad


def right_tanh(x):
    return math.tanh(x)


check.equal(value_of_tanh, right_tanh, x=check.draw.floats(-3, 3))
check.slopes(right_tanh, slope_of_tanh, x=check.draw.floats(-3, 3))

# %% [markdown] id="gradient.power.task"
# One more. Subtraction we have already: `a + (-1) * b`. For division and for squares we need powers, $x^n$ with a whole
# number $n$, which may be negative. The school rule is
#
# $$\frac{\partial}{\partial x}\,x^n = n\,x^{n-1}$$
#
# Division is then `a * power(b, -1)`, and a squared error is `power(a + (-1) * b, 2)`.

# %% id="gradient.power" exercise=true points=1 time=5 uses=["gradient.start", "gradient.value"] stub="raise NotImplementedError"
def power(x, n):
    """The Value x ** n, for a whole number n."""
    # solution
    return Value(x.data**n, (x,), (n * x.data ** (n - 1),))
    # end


# %% id="gradient.power.check" check="gradient.power" hint1="n is a plain number that nobody differentiates by, so there is one parent only: x." hint2="The number is x.data ** n; the slope is n * x.data ** (n - 1)."
def value_of_power(x, n):
    return power(Value(x), n).data


def right_power(x, n):
    return x**n


check.equal(value_of_power, right_power, x=check.draw.floats(0.5, 2), n=check.draw.integers(-3, 4))
for exponent in (-2, -1, 2, 3):

    def slope_of_power(x, n=exponent):
        v = Value(x)
        power(v, n).backward()
        return v.grad

    check.slopes(lambda x, n=exponent: x**n, slope_of_power, x=check.draw.floats(0.5, 2))


# %% [markdown] id="gradient.deep"
# The third exercise is one that real engines had to do. `in_order` calls itself for every parent, and Python allows
# only a few thousand calls inside each other, often no more than one thousand. A sum of five thousand terms, built one
# `+` at a time, is deeper than that:

# %% id="gradient.toodeep"
long_sum = Value(0)
for _ in range(5000):
    long_sum = long_sum + 1.0
try:
    in_order(long_sum)
    said = "no error"
except RecursionError as error:
    said = f"RecursionError: {error}"
print(said)
assert said.startswith("RecursionError")

# %% [markdown] id="gradient.order.task"
# Write `in_order` without recursion. A way that works: keep a list of things to do, from whose end you take the next.
#
# - A thing to do is a pair (value, parents_done).
# - A value that comes up for the first time goes back onto the list, marked as done, with its parents after it, so that
#   they are taken first.
# - When it comes up marked, it is appended to the order.

# %% id="gradient.order" exercise=true points=2 time=15 uses=["gradient.start", "gradient.value"] stub="raise NotImplementedError"
def in_order(result):
    """All values that result was computed from, and result itself, last.

    Each one comes after its parents.
    """
    # solution
    order, seen = [], set()
    todo = [(result, False)]
    while todo:
        value, parents_done = todo.pop()
        if parents_done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            todo.append((value, True))
            todo += [(parent, False) for parent in value.parents]
    return order
    # end


# %% id="gradient.order.check" check="gradient.order" hint1="todo = [(result, False)], and `while todo: value, parents_done = todo.pop()`. Two cases: parents_done is True, or it is not." hint2="In the second case, do nothing if the value is in `seen`; otherwise add it there, put (value, True) on the list, and then (parent, False) for each parent."
def random_program(seed, size):
    """A program of `size` random sums and products of the values before."""
    rng = random.Random(seed)
    values = [Value(1.0), Value(2.0)]
    for _ in range(size):
        p, q = rng.choice(values), rng.choice(values)
        values.append(p + q if rng.random() < 0.5 else p * q)
    return values[-1]


def everyone_comes_after_its_parents(seed, size):
    result = random_program(seed, size)
    order = in_order(result)
    place = {id(v): i for i, v in enumerate(order)}
    if len(place) != len(order):
        raise check.Failed("a value is in the order twice")
    if not order or order[-1] is not result:
        raise check.Failed("the last value of the order is not the result")
    for value in order:
        for parent in value.parents:
            if place.get(id(parent), len(order)) > place[id(value)]:
                raise check.Failed("a value comes before one of its parents, or without it")


check.law("the order is topological", everyone_comes_after_its_parents,
          seed=check.draw.integers(0, 1000), size=check.draw.integers(1, 12))
long_sum = Value(0)
for _ in range(5000):
    long_sum = long_sum + 1.0
assert len(in_order(long_sum)) == 10_001

# %% [markdown] id="gradient.neuron"
# ## A neuron that learns
#
# A **neuron** takes some numbers, weighs each, adds a bias, and bends the sum: $y = \tanh(w_1 x_1 + w_2 x_2 + b)$. It
# has three knobs here. We show it points of two kinds, wish for +1 at one kind and for -1 at the other, and measure our
# disappointment by the mean of the squared errors, the **loss**. Then we do what the first paragraph said: ask for the
# gradient, and move every knob a little *against* it, because we want the loss to fall.

# %% id="gradient.points"
rng = random.Random(1)


def cloud(n, centre, spread):
    return [[rng.gauss(c, spread) for c in centre] for _ in range(n)]


easy = [(p, 1.0) for p in cloud(20, (1, 1), 0.6)]
easy += [(p, -1.0) for p in cloud(20, (-1, -0.5), 0.6)]


class Neuron:
    """tanh(w·x + b)"""

    def __init__(self, inputs):
        self.w = [Value(rng.uniform(-1, 1)) for _ in range(inputs)]
        self.b = Value(0.0)

    def __call__(self, x):
        total = self.b
        for w, xi in zip(self.w, x, strict=True):
            total = total + w * xi
        return tanh(total)

    def parameters(self):
        return [*self.w, self.b]


def loss_of(model, points):
    """The mean squared error over the points."""
    total = Value(0.0)
    for x, wish in points:
        total = total + power(model(x) + (-wish), 2)
    return total * (1 / len(points))


# %% id="gradient.learn"
def learn(model, points, steps, rate):
    """Gradient descent; the losses on the way."""
    losses = []
    for _ in range(steps):
        loss = loss_of(model, points)
        for p in model.parameters():
            p.grad = 0.0  # or those of the last step would stay in there
        loss.backward()
        for p in model.parameters():
            p.data -= rate * p.grad
        losses.append(loss.data)
    return losses


def right_answers(model, points):
    return sum(model(x).data * wish > 0 for x, wish in points)


neuron = Neuron(2)
losses = learn(neuron, easy, steps=60, rate=0.2)
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
right = right_answers(neuron, easy)
print(f"{right} of {len(easy)} points on the right side")
assert losses[-1] < 0.15 < losses[0]
assert right >= 38 and len(neuron.parameters()) == 3

# %% [markdown] id="gradient.net"
# Nobody told the neuron where the border is. It followed slopes that you can now compute by hand, if you must.
#
# One neuron draws one straight border. For points that no straight line separates, we connect several: a layer of
# neurons that see the point, and one that sees *them*. The engine needs no change at all. This is the whole reason why
# the idea went so far: **any** program made of known operations can be differentiated, and so any program can learn.
#
# Here the two kinds are a disc and a ring around it.

# %% id="gradient.ring"
def on_ring(radius, spread):
    angle = rng.uniform(0, 2 * math.pi)
    r = radius + rng.gauss(0, spread)
    return r * math.cos(angle), r * math.sin(angle)


hard = [(on_ring(0.4, 0.15), 1.0) for _ in range(25)]
hard += [(on_ring(1.5, 0.15), -1.0) for _ in range(25)]


class Network:
    """Two inputs, a layer of neurons, one output."""

    def __init__(self, width):
        self.layer = [Neuron(2) for _ in range(width)]
        self.last = Neuron(width)

    def __call__(self, x):
        return self.last([neuron(x) for neuron in self.layer])

    def parameters(self):
        neurons = [*self.layer, self.last]
        return [p for neuron in neurons for p in neuron.parameters()]


alone, network = Neuron(2), Network(6)
learn(alone, hard, steps=30, rate=0.2)
losses = learn(network, hard, steps=quick(120, 60), rate=0.5)
print(f"one neuron:   {right_answers(alone, hard)} of {len(hard)} right")
print(f"the network:  {right_answers(network, hard)} of {len(hard)} right")
knobs = len(network.parameters())
size = len(in_order(loss_of(network, hard)))
print(f"{knobs} knobs, {size} values in its graph")
assert knobs == 25 and abs(size - 3000) < 1000
assert right_answers(alone, hard) < 45
assert right_answers(network, hard) >= quick(49, 45)

# %% [markdown] id="gradient.see"
# Twenty-five knobs, and a graph of about three thousand values that is built, walked and thrown away again in every
# step. Let us look at what it believes: blue where the network's answer is positive, orange where it is negative, paler
# where it is unsure. (The code below only paints. You can skip it.)

# %% id="gradient.belief"
def picture_of(model, points, side=44, reach=2.2, cell=8):
    """The model's answer over a square of the plane, and the points."""
    sheet = Drawing(side * cell, side * cell, "what the network believes")
    for i in range(side):
        for j in range(side):
            x = ((j + 0.5) / side * 2 - 1) * reach
            y = (1 - (i + 0.5) / side * 2) * reach
            t = model((x, y)).data  # from -1 to 1
            full = (0, 114, 178) if t > 0 else (213, 94, 0)
            mixed = [round(255 + (c - 255) * 0.75 * abs(t)) for c in full]
            colour = "#{:02x}{:02x}{:02x}".format(*mixed)
            sheet.box((j * cell, i * cell), (cell, cell), colour, None, 0)
    half = side * cell / 2
    for (x, y), wish in points:
        at = (half * (1 + x / reach), half * (1 - y / reach))
        sheet.dot(at, "#ffffff", 4.5)
        sheet.dot(at, "blue" if wish > 0 else "orange", 3)
    return sheet


believed = picture_of(network, hard, side=quick(44, 22), cell=quick(8, 16))
show(believed, "gradient-belief",
     "What the network believes after learning")
show(plot({"loss": losses}, title="The loss while it learns", x="step",
          y="mean squared error"),
     "gradient-loss", "The loss, step by step")

# %% [markdown] id="gradient.product"
# ## The same page in minigen
#
# You now know how minigen's engine works, because it is this engine with arrays in the place of numbers. The walk is
# the function `_walk` in `minigen/tensor.py`. Find in it: the list in reverse order, the `+` of two paths, and the line
# where an operation turns its gradient into its parents' gradients.

# %% id="gradient.read"
import inspect

import minigen.tensor

source = inspect.getsource(minigen.tensor._walk)
print(source)
assert "reversed(order)" in source and "before + gx" in source

# %% [markdown] id="gradient.trace.why"
# minigen can also show you what the walk does, operation by operation: the values, the slopes, the line
# of source that computes each, and whether nudging agrees. Here is our first program again:

# %% id="gradient.trace"
import minigen

a, b, c = (minigen.Tensor(n, requires_grad=True) for n in (2.0, -3.0, 10.0))
walk = minigen.trace(a * b + c * a, names={"a": a, "b": b, "c": c})
print(walk)
show(walk.drawing(), "gradient-trace", "The same walk, made by minigen")
slopes = {step.name: float(step.cotangent) for step in walk.steps}
assert (slopes["a"], slopes["b"], slopes["c"]) == (7, 2, 2)
assert not any(step.wrong for step in walk.steps)

# %% [markdown] id="gradient.torch"
# Three things are different, and each has a lesson of its own. Values are arrays (lesson 2). The local slope is not
# stored as a number: each operation has a `backward` that computes with Tensors, so that slopes can be differentiated
# again (lesson 3). And the order is not searched for: every operation carries a serial number, and a later one can only
# have been computed from earlier ones. That is a topological order for free, at any depth.
#
# PyTorch does the same with other names: `requires_grad`, `loss.backward()`, `parameter.grad`, `optimizer.zero_grad()`.
#
# **What to remember.** Along a path, multiply; over paths, add. Walk backwards in topological order, so that a gradient
# is complete before it is passed on. And what adds up must be reset.
