# %% [raw]
# title = "Trust nothing"
# level = 1
# needs = ["02_arrays"]
# read_minutes = 35
# cpu_minutes = 0.1
# memory_mb = 300
# seed = 3

# %% [markdown] id="trust.title"
# # Trust nothing
#
# A wrong gradient does not crash. It rarely even looks wrong: the loss falls, a little more slowly
# than it might; the pictures get better, a little less than they might. People have trained for
# weeks with a bias that was never updated, and blamed the data.
#
# So this lesson is about doubt, turned into a tool. You will build the judge that sentences wrong
# gradients, see the respectable judge that lets a wrong softmax go free, and learn why. Then five
# bugs are hidden in minigen's own source, and you find them by their symptoms.

# %% id="trust.start"
import contextlib
import math

import numpy as np

import minigen
from minigen import Function, Tensor
from minigen import functional as F
from minigen.draw import Drawing, plot
from minigen.lesson import check, show
from minigen.lesson.planted import load

rng = np.random.default_rng(3)

# %% [markdown] id="trust.nudge"
# ## A better nudge
#
# Lesson 1 nudged to one side, $(f(x+h) - f(x))/h$, and never got beyond 8 digits. Nudge to both
# sides instead:
#
# $$f'(x) \approx \frac{f(x+h) - f(x-h)}{2h}$$
#
# The curvature of $f$ pushes both ends the same way, and the difference removes it. What stays is
# an error of order $h^2$: ten times smaller a nudge, a hundred times smaller the error. Do the same
# with $2h$, and a weighted sum of both removes that as well (Richardson's trick):
# $(4\,D(h) - D(2h))/3$ is left with an error of order $h^4$.
#
# But lesson 1 has shown that small nudges have a price of their own, the digits that subtraction
# throws away. So it is not clear yet who wins.

# %% id="trust.errors" predict="Which of the three reaches the most digits: one-sided, two-sided, or Richardson?" options=["one", "two", "richardson"] answer="richardson"
def one_sided(f, x, h):
    return (f(x + h) - f(x)) / h


def two_sided(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def richardson(f, x, h):
    return (4 * two_sided(f, x, h) - two_sided(f, x, 2 * h)) / 3


steps = [10 ** (-k / 2) for k in range(1, 29)]
curves, orders = {}, {}
for rule in (one_sided, two_sided, richardson):
    name, exact = rule.__name__, math.cos(1.0)
    errors = [abs(rule(math.sin, 1.0, h) - exact) for h in steps]
    errors = [max(error, 1e-16) for error in errors]
    curves[name] = ([-math.log10(h) for h in steps], errors)
    orders[name] = math.log10(errors[1] / errors[3])  # h = 0.1 and 0.01
    best_h = steps[np.argmin(errors)]
    print(f"{name:<10}  best error {min(errors):.0e} at h = {best_h:.0e}")
best = {name: min(errors) for name, (_, errors) in curves.items()}
assert best["richardson"] < best["two_sided"] < 1e-9
assert 0.1 < best["one_sided"] / 10.0**-8 < 10  # 8 digits, no more
for name, order in (("one_sided", 1), ("two_sided", 2), ("richardson", 4)):
    assert abs(orders[name] - order) < 0.1
show(plot(curves, log=True, title="Three ways to nudge",
          x="-log10 of h", y="error"),
     "trust-nudges", "The error of three difference formulas")

# %% [markdown] id="trust.direction"
# ## One number instead of a million
#
# A layer has a hundred thousand weights, and nudging each costs two runs of the program. There is a
# way to test all of them with two runs: move **all at once, in a random direction** $d$, and look
# at the slope along $d$. If the gradient $g$ is right, this slope is
#
# $$\langle g, d\rangle = \sum_k g_k d_k$$
#
# One number against one number. Can a wrong gradient pass? Only if its error happens to be at right
# angles to $d$, or so nearly that the rest is lost in rounding. For a direction that was drawn at
# random that is very unlikely, and for a second one, drawn anew, to miss as well is hopeless.

# %% [markdown] id="trust.slope.task"
# ## Your turn
#
# Write `slope_along(f, x, d, h)`: the two-sided slope of `f`, a function of an array that gives one
# number, at `x`, when all of `x` moves in the direction `d`.

# %% id="trust.slope" exercise=true points=1 time=5 uses=["trust.start"] stub="raise NotImplementedError"
def slope_along(f, x, d, h=1e-5):
    """(f(x + h d) - f(x - h d)) / 2h"""
    # solution
    return (f(x + h * d) - f(x - h * d)) / (2 * h)
    # end


# %% id="trust.slope.check" check="trust.slope" hint1="x + h * d is an array: every element of x moves by h times its own element of d." hint2="Divide by 2 * h, not by h: the ends are two steps apart."
def bowl(x):
    return float((x**3).sum())


def your_slope(x, d):
    return slope_along(bowl, x, d, 1e-3)  # so large that one side alone is not enough


def right_slope(x, d):
    return float((3 * x**2 * d).sum())


check.equal(your_slope, right_slope, rtol=1e-4, x=check.some.arrays((2, 3), check.some.positive),
            d=check.some.arrays((2, 3), check.some.positive))

# %% [markdown] id="trust.ones"
# ## The respectable judge
#
# Operations give arrays, and to test one we need a number at the end. The first thing that comes to
# mind is to add everything up: `f(x).sum()`. Many well-known projects test like this (minitorch,
# tinygrad and DeZero among them). In the language of lesson 2: their cotangent is all ones.
#
# Our suspect is the softmax. It turns each row of numbers into shares: take the exponential of each,
# and divide by their sum, $y_i = e^{x_i} / \sum_k e^{x_k}$. (The code subtracts the row's largest number
# first, so that no exponential gets too large; the shares stay the same.) And here is a softmax whose
# backward is as wrong as can be: it returns zeros. Will the sum notice?

# %% id="trust.wrong"
class LazySoftmax(Function):
    """y = softmax(x) over the last axis; its backward does nothing."""

    def forward(self, x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def backward(self, gy):
        return gy * 0.0


def lazy_softmax(x):
    return LazySoftmax()(x)  # a Function is applied once, so make a new one


def judged(f, x, cotangent):
    """The slope of the sum of cotangent * f(x) along one direction:
    by backward, and by nudging."""
    d = np.random.default_rng(0).standard_normal(x.shape)
    tensor = Tensor(x, requires_grad=True)
    (g,) = minigen.grad(f(tensor), [tensor], Tensor(cotangent))

    def weighed(v):
        return float((f(Tensor(v)).numpy() * cotangent).sum())

    return float((g.numpy() * d).sum()), slope_along(weighed, x, d)


x = rng.standard_normal((4, 6))
ones = judged(lazy_softmax, x, np.ones(x.shape))
print("cotangent of ones:")
print("  by backward {:+.9f}   by nudging {:+.9f}".format(*ones))
assert abs(ones[0]) < 1e-12 and abs(ones[1]) < 1e-8
assert abs(lazy_softmax(Tensor(x)).numpy().sum() - 4) < 1e-12

# %% [markdown] id="trust.wrong2"
# The judge compares zero with zero, and acquits. Of course: softmax makes rows that sum to 1,
# whatever `x` is. There are 4 rows, so the sum of everything is 4, whatever `x` is, and its slope is
# zero, *truly* zero. The question has the same answer for the right and the wrong backward.
#
# Weigh the outputs with random numbers instead, and the question is a real one.

# %% id="trust.random" predict="The same two numbers for a random cotangent. Will they agree?" options=["yes", "no"] answer="no"
cotangent = rng.standard_normal(x.shape)
random = judged(lazy_softmax, x, cotangent)
right = judged(lambda t: F.softmax(t, -1), x, cotangent)
print("random cotangent:")
for name, slopes in (("LazySoftmax", random), ("F.softmax", right)):
    print(f"  {name:<12}", end="")
    print("by backward {:+.6f}   by nudging {:+.6f}".format(*slopes))
assert random[0] == 0 and abs(random[1]) > 0.05
assert abs(right[0] - right[1]) < 1e-8

# %% [markdown] id="trust.judge.task"
# ## Your turn: the judge
#
# Put the pieces together. Write `disagreement(f, x, seed)` for a function `f` of one Tensor:
#
# - draw a direction `d` of the shape of `x`, and a cotangent `c` of the shape of `f(x)`, both with
#   `rng.standard_normal` from a generator with that seed;
# - let minigen compute the gradient `g` for that cotangent (`minigen.grad(y, [x], c)` takes and
#   gives Tensors), and with it $\langle g, d \rangle$;
# - find the slope of $\langle c, f(x) \rangle$ along `d` by nudging both ways with `h = 1e-5`;
# - return the difference of the two, divided by `1 +` the size of the second.

# %% id="trust.judge" exercise=true points=3 time=15 uses=["trust.start"] stub="raise NotImplementedError"
def disagreement(f, x, seed=0):
    """How far backward is from the slope that nudging finds."""
    # solution
    rng = np.random.default_rng(seed)
    tensor = Tensor(x, requires_grad=True)
    y = f(tensor)
    d, c = rng.standard_normal(x.shape), rng.standard_normal(y.shape)
    (g,) = minigen.grad(y, [tensor], Tensor(c))

    def weighed(v):
        return float((f(Tensor(v)).numpy() * c).sum())

    h = 1e-5
    nudged = (weighed(x + h * d) - weighed(x - h * d)) / (2 * h)
    return abs(float((g.numpy() * d).sum()) - nudged) / (1 + abs(nudged))
    # end


# %% id="trust.judge.check" check="trust.judge" hint1="tensor = Tensor(x, requires_grad=True); y = f(tensor); draw d and c; (g,) = minigen.grad(y, [tensor], Tensor(c))." hint2="The function to nudge is v -> (f(Tensor(v)).numpy() * c).sum(). Compare (g.numpy() * d).sum() with its slope along d."
class Crooked(Function):
    """y = sin x, and a backward with one wrong element out of many."""

    def forward(self, x):
        return np.sin(x)

    def backward(self, gy):
        mask = np.ones(gy.shape)
        mask.flat[0] = 1.02
        return gy * F.cos(self.inputs[0]) * Tensor(mask)


class Zero(Function):
    """Rows that sum to 1, and no slope."""

    def forward(self, x):
        e = np.exp(x)
        return e / e.sum(-1, keepdims=True)

    def backward(self, gy):
        return gy * 0.0


def the_judge_is_just(x, seed):
    for f in (F.sin, F.tanh, lambda t: F.softmax(t, -1)):
        if not disagreement(f, x, seed) < 1e-6:
            raise check.Failed("your judge sentences a right gradient (sin, tanh or softmax)")


def sentenced(f):
    """Whether the judge sees it with any of ten seeds."""
    x = np.random.default_rng(1).standard_normal((3, 4))
    return max(disagreement(f, x, seed) for seed in range(10)) > 1e-3


check.law("right gradients are acquitted", the_judge_is_just,
          x=check.some.arrays((2, 3)), seed=check.draw.integers(0, 99))
if not sentenced(lambda t: Crooked()(t)):
    raise check.Failed("your judge does not see one wrong element (2 percent too large)")
if not sentenced(lambda t: Zero()(t)):
    raise check.Failed("your judge lets a softmax with the slope 0 go: is your cotangent random?")

# %% [markdown] id="trust.kinks"
# ## Where there is no slope
#
# The judge has a weakness: it believes that there *is* a slope. `relu`, the bend that most networks
# use today, is $\max(x, 0)$, and has a kink at 0: slope 0 on its left, 1 on its right. Nudge across it,
# and you measure one half, which no one can agree with.

# %% id="trust.kink"
def relu(v):
    return max(v, 0.0)


print("relu, nudged at 0:   ", two_sided(relu, 0.0, 1e-5))
print("relu, nudged at 0.3: ", round(two_sided(relu, 0.3, 1e-5), 9))
assert two_sided(relu, 0.0, 1e-5) == 0.5
assert abs(two_sided(relu, 0.3, 1e-5) - 1) < 1e-9
assert two_sided(relu, -0.3, 1e-5) == 0

# %% [markdown] id="trust.hypothesis"
# So a test must keep its inputs away from kinks and ties, further than the nudge can reach. It must
# also keep away from something worse: **the examples that its author thought of.** A 3 by 3 matrix
# cannot show that two axes were mixed up. A batch of 1 cannot show a missing sum.
#
# The library Hypothesis draws the examples instead: shapes, sizes of 1, memory layouts, options. When
# one fails, it looks for the **smallest** that still fails, which is usually so small that the
# mistake can be read off. Watch it work on a mean that divides by the wrong number, the number of
# rows instead of the number of elements:

# %% id="trust.shrink"
from hypothesis import Phase, given, settings

tried = []
side = check.draw.integers(1, 6)


@settings(max_examples=200, database=None, derandomize=True, deadline=None,
          phases=(Phase.generate, Phase.shrink))
@given(check.some.arrays(check.draw.tuples(side, side)))
def mean_is_the_mean(x):
    wrong = x.sum() / x.shape[0]  # the bug
    agrees = abs(wrong - x.mean()) < 1e-9
    tried.append((x.shape, agrees))
    assert agrees


try:
    mean_is_the_mean()
    smallest = None
except AssertionError:
    smallest = tried[-1][0]
failed = [shape for shape, agrees in tried if not agrees]
print("examples tried:     ", len(tried))
print("first failing shape:", failed[0])
print("smallest:           ", smallest)
assert smallest == (1, 2)

# %% [markdown] id="trust.shrink2"
# One row of two: the smallest shape in which rows and elements are not the same number. It all but
# says "you divided by the rows". (With one column, the bug is invisible, as it is with every
# example whose author was satisfied with `x = np.ones((3, 1))`.)
#
# ## Twice
#
# In lesson 1 a slope was a number. In minigen it is a Tensor, computed by operations that are
# recorded like any others, and so it **can be differentiated again**. This is not a curiosity: a
# modern generator of pictures (the WGAN-GP) is taught by a second network, its critic, and has the
# *slope of the critic* in its loss. Training takes the gradient of that.

# %% id="trust.twice"
x = Tensor(np.array(0.5), requires_grad=True)
y = F.tanh(x)
(g,) = minigen.grad(y, [x], create_graph=True)
(gg,) = minigen.grad(g, [x])
t = math.tanh(0.5)
print(f"tanh {y.item():.6f}   its slope {g.item():.6f}")
print(f"the slope of the slope {gg.item():.6f}")
assert abs(g.item() - (1 - t * t)) < 1e-12
assert abs(gg.item() + 2 * t * (1 - t * t)) < 1e-12

# %% [markdown] id="trust.twice2"
# It opens the door to a new kind of bug: a backward that computes the right *number*, with a
# calculation that is not on the tape, which is what people call the record that a later walk goes
# back over. Such a slope is right, and the slope of the slope is wrong, or zero. Only a check of second order can see it; `minigen.check_grad` does both orders unless it
# is told otherwise, random direction and random cotangent included. And it tries to say what *kind*
# of mistake it sees.

# %% id="trust.offtape"
class Square(Function):
    """y = x², with a backward that leaves the tape."""

    def forward(self, x):
        return x * x

    def backward(self, gy):
        # Right numbers, no memory:
        return Tensor(2 * self.inputs[0].data * gy.data)


z = rng.standard_normal(5)
worst = minigen.check_grad(lambda v: Square()(v), z, order=1)
print(f"order 1, worst error: {worst:.0e}")
try:
    minigen.check_grad(lambda v: Square()(v), z, order=2)
    verdict = ""
except minigen.gradcheck.GradientError as error:
    verdict = "\n".join(f"[{f.kind}] {f.text}" for f in error.findings)
print("order 2:", verdict)
assert worst < 1e-6 and "off the tape" in verdict

# %% [markdown] id="trust.detective"
# ## Five bugs
#
# minigen's tests are themselves tested: more than a hundred small bugs are planted in its source, one
# at a time, and each must be found. (A test that finds no bug is a decoration.) Five of them are now
# yours. Each is one line of a real file. The lesson shows the symptom; in your workspace
# (`minigen lesson start DIR`) you find the class with the bug in it. Mend the line, and
# `minigen lesson check` runs the very checks that the test suite runs.
#
# Read the docstring first: it says what the operation should be.

# %% id="trust.symptom"
from minigen.testing.bugs import all_bugs

planted = [bug for bug in all_bugs().values() if not bug.harmless]
print(len(planted), "planted bugs")
assert len(planted) > 100


def symptom(bug, name, op):
    """What the judge says about minigen with this bug in it."""
    try:
        check.op(op, load(bug, name))
    except check.Failed as found:
        lines = [line for line in str(found).splitlines() if line.strip()]
        text = "\n".join(lines)
        print(text[:500])
        return text
    except Exception as error:
        print(f"{type(error).__name__}: {str(error)[:300]}")
        return str(error)
    return ""


# %% [markdown] id="trust.sub.case"
# ### Case 1: the difference
#
# A subtraction. Whoever subtracts a parameter from something and trains it, sees the loss go up.

# %% id="trust.sub.symptom"
found = symptom("ops/negative-side-of-sub-keeps-its-sign", "Sub", "sub")
assert "sign" in found

# %% [markdown] id="trust.sub.task"
# Find the wrong line in `Sub`, and mend it.

# %% id="trust.sub" exercise=true points=1 time=5 bug="ops/negative-side-of-sub-keeps-its-sign" of="Sub"
from minigen.ops.elementwise import Sub

# %% id="trust.sub.check" check="trust.sub" hint1="The judge speaks of one of the two gradients only. Which of the two inputs is subtracted?" hint2="z = x - y: when y grows, z falls, so y's cotangent is minus gz."
from minigen.lesson import check

check.op("sub", Sub)

# %% [markdown] id="trust.mean.case"
# ### Case 2: the mean
#
# Training works, but only with a learning rate far larger than anybody else's. Adam, the most popular
# replacement for plain gradient descent, hides this one completely: it divides every gradient by the
# size that this gradient usually has, so a common factor changes nothing.

# %% id="trust.mean.symptom"
found = symptom("ops/mean-divided-twice-in-backward", "Mean", "mean")
assert "factor" in found

# %% [markdown] id="trust.mean.task"
# Find the wrong line in `Mean`, and mend it.

# %% id="trust.mean" exercise=true points=1 time=5 bug="ops/mean-divided-twice-in-backward" of="Mean"
from minigen.ops.reduce import Mean

# %% id="trust.mean.check" check="trust.mean" hint1="The factor that the judge names is 1/n, where n is what the mean divides by. The right gradient has it once." hint2="Look at what is handed to super().backward: gy divided by the count, how often?"
from minigen.lesson import check

check.op("mean", Mean)

# %% [markdown] id="trust.div.case"
# ### Case 3: the quotient
#
# This one is right whenever the divisor is 1. Whoever tests with `x / np.ones(...)` sleeps well.

# %% id="trust.div.symptom"
found = symptom("ops/quotient-without-its-square", "Div", "div")
assert "div" in found


def slope_along_divisor(y):
    """d(3 / y) / dy by minigen, with the bug and without it."""
    out = []
    for thing in (load("ops/quotient-without-its-square", "Div"), None):
        with check.planted(thing) if thing else contextlib.nullcontext():
            divisor = Tensor(np.array(y), requires_grad=True)
            quotient = Tensor(np.array(3.0)) / divisor
            out.append(minigen.grad(quotient, [divisor])[0].item())
    return out


for y in (1.0, 2.0):
    with_bug, without = slope_along_divisor(y)
    print(f"at y = {y}: with the bug {with_bug}, without {without}")
assert slope_along_divisor(1.0)[0] == slope_along_divisor(1.0)[1] == -3
assert slope_along_divisor(2.0)[0] != slope_along_divisor(2.0)[1] == -0.75

# %% [markdown] id="trust.div.task"
# Find the wrong line in `Div`, and mend it.

# %% id="trust.div" exercise=true points=1 time=10 bug="ops/quotient-without-its-square" of="Div"
from minigen.ops.elementwise import Div

# %% id="trust.div.check" check="trust.div" hint1="The slope of x / y along y is minus x / y squared. Where does the line below have its first y, and where its second?" hint2="gx is gz / y already. One more division by y is missing: -gx * (x / y)."
from minigen.lesson import check

check.op("div", Div)

# %% [markdown] id="trust.tanh.case"
# ### Case 4: the bend
#
# Every gradient is right, to the last digit. But a loss that has a slope in it, such as the gradient
# penalty of lesson 9, gets wrong gradients for itself.

# %% id="trust.tanh.symptom"
found = symptom("ops/cotangent-of-tanh-off-the-tape", "Tanh", "tanh")
assert "derivative of order 2" in found and "order 1 is right" in found

# %% [markdown] id="trust.tanh.task"
# Find the wrong line in `Tanh`, and mend it.

# %% id="trust.tanh" exercise=true points=1 time=10 bug="ops/cotangent-of-tanh-off-the-tape" of="Tanh"
from minigen.ops.elementwise import Tanh

# %% id="trust.tanh.check" check="trust.tanh" hint1="Order 1 is right and order 2 is not: something that backward computes with has forgotten where it came from." hint2="Tensor(gy.data) has the numbers of gy and none of its memory. What would remember?"
from minigen.lesson import check

check.op("tanh", Tanh)

# %% [markdown] id="trust.broadcast.case"
# ### Case 5: the shape
#
# This one sits in the engine. Adding a bias of shape (10,) to a batch still works; adding one of
# shape (1, 10) does not any more. You have met its healthy form in lesson 2.

# %% id="trust.broadcast.symptom"
bug = "ops/broadcast-not-undone-over-axes-of-one"
found = symptom(bug, "SumTo", "add")


def bias_learns(shape):
    """Whether the gradient of a bias of this shape has its shape."""
    bias = Tensor(np.zeros(shape), requires_grad=True)
    batch = Tensor(np.ones((4, 10)))
    with check.planted(load(bug, "SumTo")):
        try:
            (g,) = minigen.grad((batch + bias).sum(), [bias])
        except (RuntimeError, ValueError):
            return False
    return g.shape == shape


assert found and bias_learns((10,)) and not bias_learns((1, 10))

# %% [markdown] id="trust.broadcast.task"
# Find the wrong line in `SumTo`, and mend it.

# %% id="trust.broadcast" exercise=true points=1 time=10 bug="ops/broadcast-not-undone-over-axes-of-one" of="SumTo"
from minigen.function import SumTo

# %% id="trust.broadcast.check" check="trust.broadcast" hint1="Two kinds of axes are summed: those that were added in front, and those of the small shape that were repeated. Which size can be repeated?" hint2="In the second line of `axes`: only an axis of size 1 is ever repeated."
from minigen.lesson import check

check.op("add", SumTo)

# %% [markdown] id="trust.map"
# ## Who sees what
#
# To end with, a map. Rows are bugs: the lazy softmax and the five cases. Columns are judges: a sum of
# the outputs (all ones), a random cotangent, and both orders. Each judge sees the same small
# arrays; a filled square means that it noticed.

# %% id="trust.table"
CASES = {  # label: (operation, class with the bug in it, the bug)
    "softmax with no slope": ("softmax", None, None),
    "sub keeps its sign":
        ("sub", "Sub", "ops/negative-side-of-sub-keeps-its-sign"),
    "mean divides twice":
        ("mean", "Mean", "ops/mean-divided-twice-in-backward"),
    "div without its square":
        ("div", "Div", "ops/quotient-without-its-square"),
    "tanh leaves the tape":
        ("tanh", "Tanh", "ops/cotangent-of-tanh-off-the-tape"),
    "axes of 1 not summed":
        ("add", "SumTo", "ops/broadcast-not-undone-over-axes-of-one"),
}
INPUTS = {
    "sub": [(2, 3), (2, 3)],
    "div": [(2, 3), (2, 3)],
    "add": [(2, 3), (1, 3)],
}


def function_and_arrays(op):
    f = getattr(F, op) if op != "softmax" else lazy_softmax
    r = np.random.default_rng(0)
    return f, [r.uniform(0.5, 2, s) for s in INPUTS.get(op, [(2, 3)])]


def noticed_by_ones(f, arrays):
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    y = f(*xs)
    gradients = minigen.grad(y, xs, Tensor(np.ones(y.shape)))
    for k, g in enumerate(gradients):
        d = np.random.default_rng(9).standard_normal(arrays[k].shape)

        def total(v, k=k):
            xs = [Tensor(v if i == k else a) for i, a in enumerate(arrays)]
            return float(f(*xs).numpy().sum())

        nudged = slope_along(total, arrays[k], d)
        back = float((g.numpy() * d).sum())
        if abs(back - nudged) > 1e-6 * (1 + abs(nudged)):
            return True
    return False


def noticed(order, f, arrays):
    try:
        if order == 0:
            return noticed_by_ones(f, arrays)
        minigen.check_grad(f, *arrays, order=order)
        return False
    except (minigen.gradcheck.GradientError, RuntimeError, ValueError):
        return True


seen = {}
print(f"{'':<24} ones   random both orders")
for label, (op, name, bug) in CASES.items():
    healthy = contextlib.nullcontext()
    with check.planted(load(bug, name)) if bug else healthy:
        f, arrays = function_and_arrays(op)
        seen[label] = [noticed(order, f, arrays) for order in (0, 1, 2)]
    answers = ("yes   " if yes else "no    " for yes in seen[label])
    print(f"{label:<24}", *answers)
assert seen["softmax with no slope"] == [False, True, True]
assert seen["tanh leaves the tape"] == [False, False, True]
assert all(row[2] for row in seen.values())

# %% id="trust.drawing"
sheet = Drawing(520, 60 + 34 * len(seen), "Which judge notices which bug")
for j, judge in enumerate(("all ones", "random", "both orders")):
    sheet.text((250 + 100 * j, 20), judge, "soft", 12)
for i, (label, row) in enumerate(seen.items()):
    y = 50 + 34 * i
    sheet.text((12, y), label, "ink", 13, "start")
    for j, yes in enumerate(row):
        fill, edge = ("green", "green") if yes else (None, "orange")
        sheet.box((238 + 100 * j, y - 12), (24, 24), fill, edge, 4)
show(sheet, "trust-judges",
     "Which judge notices which bug: filled means found")

# %% [markdown] id="trust.end"
# The last column is full. That is why `check_grad` with order 2, at shapes that Hypothesis draws, is
# run for every operation that minigen has: `minigen check` does it on your machine, for any of them.
#
# PyTorch has `gradcheck` and `gradgradcheck` (and its `fast_mode` draws a random direction).
#
# **What to remember.** Ask a question whose answer depends on what you doubt: random cotangents,
# random directions, shapes you did not choose. A slope that will be differentiated must be checked
# at second order. And a test is worth what it finds.
