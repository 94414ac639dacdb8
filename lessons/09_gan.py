# %% [raw]
# title = "A game of two networks"
# level = 3
# needs = ["05_conv", "08_vae"]
# read_minutes = 40
# cpu_minutes = 0.7
# memory_mb = 500
# seed = 9

# %% [markdown] id="gan.title"
# # A game of two networks
#
# The model of lesson 8 learnt by comparing its picture with the right one, pixel by pixel, and its
# pictures were blurred, because the average of all right answers is a good answer to that question.
# Here is another question: *could this picture be a real one?* Nobody can write that down as a
# formula. So let a second network learn to answer it.
#
# The **generator** G turns random numbers $z$ into pictures. The **discriminator** D looks at a
# picture and says how real it thinks it is. D is trained to tell real from made; G is trained to make
# D say "real". G never sees a real picture. All it ever learns about the world comes to it as a slope
# through D.
#
# This is the most entertaining way to train a generator, and the one that fails in the most ways. You
# will watch it work, make it collapse, cure it, and run two listings, copied a thousand times, that
# cannot work at all.

# %% id="gan.start"
import math

import numpy as np

import minigen
from minigen import Generator, Tensor, grad, nn, no_grad
from minigen import functional as F
from minigen.data import glyphs, ring
from minigen.draw import Drawing, plot
from minigen.images import grid
from minigen.lesson import check, quick, show
from minigen.optim import Adam

# %% [markdown] id="gan.rules"
# ## The rules of the game
#
# D gives a number, its *logit* $l$: positive for "real", negative for "made"; as a probability,
# $\sigma(l) = 1/(1 + e^{-l})$. Its loss is what it loses by being wrong, in the log of the probability
# that it gave to the truth:
#
# $$L_D = -\log \sigma(D(x)) - \log(1 - \sigma(D(G(z))))$$
#
# What would a perfect D do? If pictures come from the real ones with density $p$ and from the made
# ones with density $q$, equally often, then among all pictures that look like $x$ the share of real
# ones is $p/(p+q)$, and no D can do better than to say so. Written as a logit: $\log p - \log q$.
#
# Let us check this, rather than believe it: two overlapping bell curves, and the loss, integrated, of
# the perfect D and of others. (The code writes $-\log \sigma(l)$ as $\log(1 + e^{-l})$, which is the same;
# the function $\log(1 + e^l)$ has a name, softplus.)

# %% id="gan.perfect" predict="When p and q are the same, the perfect D can only say one half, always. Its loss is then log 2 + log 2. About how much is that?" options=["0.7", "1.4", "2"] answer="1.4"
x = np.linspace(-10, 10, 4001)
dx = x[1] - x[0]


def bell(mean):
    return np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def game_value(p, q, logit):
    """E_p softplus(-D) + E_q softplus(D), on the grid."""
    at_real, at_made = np.logaddexp(0, -logit), np.logaddexp(0, logit)
    return float((p * at_real + q * at_made).sum() * dx)


p, q = bell(-1), bell(1)
perfect = np.log(p) - np.log(q)
best = game_value(p, q, perfect)
others = [game_value(p, q, a * perfect + b)
          for a in (0.5, 1.0, 2.0) for b in (-0.5, 0.5)]
print(f"the perfect D loses {best:.4f}")
print(f"others lose {min(others):.4f} to {max(others):.4f}")
print(f"when p = q it loses {game_value(p, p, 0 * x):.4f}")
assert best < min(others)
assert abs(game_value(p, p, 0 * x) - 2 * math.log(2)) < 1e-9
assert abs(2 * math.log(2) - 1.386) < 1e-3

# %% [markdown] id="gan.numbers"
# So here is the first thing to know when you look at a GAN's curves: D's loss does not go to zero when
# all is well. It goes *towards 1.386*, because a good G leaves D nothing to hold on to. A discriminator
# whose loss falls to zero has won, and from a D that has won, G learns nothing:

# %% id="gan.saturate"
logits = np.linspace(-10, 4, 200)
sigma = 1 / (1 + np.exp(-logits))
slopes = {"log(1 - D): slope": (logits, sigma),
          "-log D: slope": (logits, 1 - sigma)}
show(plot(slopes, title="How much G can learn from D",
          x="D's logit for a made picture (left: D is sure)",
          y="size of the slope"),
     "gan-slopes",
     "The slope that reaches G, for the two forms of its loss")
logit = Tensor(np.array(-10.0), requires_grad=True)  # D is sure
(first,) = grad(-F.softplus(logit), [logit])  # log(1 - D)
(second,) = grad(F.softplus(-logit), [logit])  # -log D
print("when D is sure (logit -10), the slope of")
print(f"  log(1 - D) is {abs(first.item()):.6f}")
print(f"  -log D     is {abs(second.item()):.6f}")
assert abs(first.item()) < 1e-4 and abs(second.item()) > 0.9999

# %% [markdown] id="gan.saturate2"
# The game as first written lets G *minimise* $\log(1 - \sigma(D(G(z))))$. At the beginning, when D sees
# through everything, the slope of that is nearly zero (blue): the worse G is, the less it learns. So
# G *maximises* $\log \sigma(D(G(z)))$ instead (orange). Same aim, other slope. It is called the
# non-saturating form, and everybody uses it (Goodfellow and others, "Generative adversarial nets",
# 2014, have both).

# %% [markdown] id="gan.losses.task"
# ## Your turn: the two losses
#
# Write `losses(real, fake)`, for Tensors of logits: D's loss and G's loss (the non-saturating one), each
# the mean over the batch. There is a trap: computed as log of sigmoid, the loss of a logit of 800 is
# the log of zero. Use
#
# $$-\log \sigma(l) = \mathrm{softplus}(-l)$$
#
# $$-\log(1 - \sigma(l)) = \mathrm{softplus}(l)$$
#
# where $\mathrm{softplus}(l) = \log(1 + e^l)$ is `F.softplus`, which is exact for any logit.

# %% id="gan.losses" exercise=true points=1 time=10 uses=["gan.start"] stub="raise NotImplementedError"
def losses(real, fake):
    """(D's loss, G's loss) from D's logits: means over the batch."""
    # solution
    loss_d = F.softplus(-real).mean() + F.softplus(fake).mean()
    loss_g = F.softplus(-fake).mean()
    return loss_d, loss_g
    # end


# %% id="gan.losses.check" check="gan.losses" hint1="D wants the real ones high: its loss for them is softplus(-real). For the made ones it wants low logits: softplus(fake)." hint2="G wants the made ones high: softplus(-fake). Each with .mean()."
def numbers(real, fake):
    d, g = losses(Tensor(real), Tensor(fake))
    return np.array(d.item()), np.array(g.item())


def right_numbers(real, fake):
    d = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()
    return np.array(d), np.array(np.logaddexp(0, -fake).mean())


wide = check.some.between(-60, 60)
batch = check.some.shapes(1, 1, zero=False)
check.equal(numbers, right_numbers, real=check.some.arrays(batch, wide), fake=check.some.arrays(batch, wide))
check.gradients(losses, order=1, real=check.some.arrays(check.draw.just((3,))),
                fake=check.some.arrays(check.draw.just((4,))))
assert all(math.isfinite(float(v)) for v in numbers(np.array([800.0]), np.array([-800.0])))

# %% [markdown] id="gan.ring"
# ## Eight islands
#
# Before we try pictures, something that can be seen whole. The "pictures" are points of the plane, and
# the real ones lie on eight small islands in a ring. A generator has to find all eight. This is the
# test bench of the trade, because it shows at a glance what in pictures takes experts to see.
#
# G and D are networks of two hidden layers each: `nn.Linear` is lesson 2's `x @ w + b`, and
# `nn.LeakyReLU` is the bend between them, $x$ above 0 and $0.2x$ below. Note the order in the loop: D's step uses
# `fake.detach()`, so that no slope goes back into G; G's step asks for the slopes of G's parameters only,
# so nothing is computed for D's. With minigen's `grad`, which returns what it is asked for, the two
# cannot leak into each other.

# %% id="gan.play" minutes=0.1
islands = ring(8, std=0.05)
FRAMES = quick(16, 8)  # of an animation


def network(inputs, outputs, rng, width=64):
    return nn.Sequential(
        nn.Linear(inputs, width, rng=rng), nn.LeakyReLU(0.2),
        nn.Linear(width, width, rng=rng), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs, rng=rng),
    )


class Game:
    """G and D, their optimisers, and the loop."""

    def __init__(self, lr_g=1e-3, lr_d=1e-3, seed=0):
        self.rng = Generator(seed)
        self.G = network(2, 2, self.rng.split("g"))
        self.D = network(2, 1, self.rng.split("d"))
        self.opt_g = Adam(self.G.parameters(), lr=lr_g, betas=(0.5, 0.999))
        self.opt_d = Adam(self.D.parameters(), lr=lr_d, betas=(0.5, 0.999))
        self.frames, self.log = [], []

    def d_loss(self, real, fake):
        return losses(self.D(real), self.D(fake))[0]

    def g_loss(self, fake):
        logits = self.D(fake)
        return losses(logits, logits)[1]

    def play(self, steps, batch=128, frames=FRAMES):
        every = steps // frames
        for step in range(steps):
            real = Tensor(islands.sample(batch, self.rng))
            fake = self.G(Tensor(self.rng.normal((batch, 2))))
            loss_d = self.d_loss(real, fake.detach())
            self.opt_d.step(grad(loss_d, self.opt_d.params))
            loss_g = self.g_loss(fake)
            self.opt_g.step(grad(loss_g, self.opt_g.params))
            self.log.append((loss_d.item(), loss_g.item()))
            if step % every == 0 or step == steps - 1:
                self.frames.append(self.picture(f"step {step + 1}"))
        return self

    def points(self, n=1000):
        with no_grad():
            return self.G(Tensor(Generator(9).normal((n, 2)))).numpy()

    def picture(self, title=""):
        sheet = Drawing(230, 246, title)
        sheet.text((8, 12), title, "soft", 12, "start")
        real = islands.sample(200, Generator(1))
        for cloud, colour in ((real, "yellow"), (self.points(400), "blue")):
            for a, b in np.clip(cloud, -1.75, 1.75):
                sheet.dot((115 + 62 * a, 132 - 62 * b), colour, 1.5)
        return sheet.image(2)

    def found(self):
        """How many islands 2 % of the points or more are on,
        and the share of the points that is on any island."""
        points = self.points()
        island, distance = islands.nearest(points)
        on = distance < 3  # within three standard deviations
        counts = np.bincount(island[on], minlength=8)
        return int((counts >= 0.02 * len(points)).sum()), float(on.mean())


steps = quick(900, 300)
game = Game().play(steps)
count, share = game.found()
d, g = np.mean(game.log[-50:], axis=0)
print(f"{count} of 8 islands found, {share:.0%} of the points on one")
print(f"losses: D {d:.2f}, G {g:.2f}")
assert count >= quick(7, 4) and abs(d - 1.386) < 0.4
show(game.frames, "gan-ring",
     "G (blue) looks for the eight islands (yellow)")

# %% [markdown] id="gan.ring2"
# Nobody told G that there are eight. And look at D's loss: it ends not far from the 1.386 of a D that can hardly
# tell. Compare D's loss with that number, always.
#
# ## Collapse, caused by one change
#
# Now let G learn with ten times the rate, and touch nothing else.

# %% id="gan.collapse" minutes=0.1 predict="G's learning rate is 0.01 instead of 0.001. How many islands will it cover: all 8, about half, or 2 at most?" options=["8", "half", "2 at most"] answer="2 at most"
collapsed = Game(lr_g=1e-2).play(600)
few, _ = collapsed.found()
print(f"{few} of 8 islands found")
assert few <= 2 < count
assert math.isclose(collapsed.opt_g.lr, 10 * game.opt_g.lr)
show(collapsed.frames, "gan-collapse", "The same game, with a hasty G")

# %% [markdown] id="gan.collapse2"
# This is **mode collapse**. The reason is in the order of the game. Suppose D stood still: then the best
# thing that G can do is to put *all* of its points on the one place that D likes best. A fast G gets
# there before D can say no. D learns to dislike that place; G moves all its points elsewhere; and so they
# chase each other around the ring, for ever. With pictures: one perfect face, and then, a few hundred
# steps later, another one.
#
# ## And cured by another
#
# One could slow G down again. But look at the reason: it is not that G is fast, it is that G is fast
# *compared to D*. If that is true, then there is another cure: leave G as hasty as it is, and give D ten
# times the rate too.

# %% id="gan.cure" minutes=0.1 predict="Both learn with 0.01 now. Will G cover more islands than the hasty G alone did?" options=["yes", "no"] answer="yes"
cured = Game(lr_g=1e-2, lr_d=1e-2).play(600)
many, share = cured.found()
print(f"{many} of 8 islands found, {share:.0%} of the points on one")
assert many > few
assert math.isclose(cured.opt_d.lr, 10 * collapsed.opt_d.lr)
show(cured.frames, "gan-cure", "The hasty G again, and a D that keeps pace")

# %% [markdown] id="gan.cure2"
# It jumps, and it is not pretty, but it spreads: what counts is the *ratio* of the two speeds. (Some
# people give D several steps for each of G; some give D the larger rate, on purpose. It is the same
# knob.)
#
# ## The other handle: D's cliffs
#
# There is a second thing that one can do, and the best generators of the last years do it. The points
# jump because D's landscape is steep. So take from D the right to be steep: add to its loss the mean
# squared slope at the *real* points,
#
# $$R_1 = E_x\,\Vert \nabla_x D(x) \Vert^2$$
#
# (Mescheder, Geiger and Nowozin, "Which training methods for GANs do actually converge?", 2018.)
# The slope of D is now *inside* a loss, and training takes the slope of that. It is the second order of
# lesson 3, and the reason why minigen's backward passes are recorded.

# %% [markdown] id="gan.penalty.task"
# ## Your turn: the penalty
#
# Write `r1(D, x)`: the mean over the batch of the squared length of the slope of D at each real point.
#
# - Make a Tensor of x's numbers that requires a gradient: `Tensor(x.data, requires_grad=True)`.
# - D treats each point for itself, so the slope of the *sum* of all logits holds the slope of each logit
#   at its own point.
# - Ask for it with `create_graph=True`, or the penalty could not be differentiated again.

# %% id="gan.penalty" exercise=true points=2 time=15 uses=["gan.start"] stub="raise NotImplementedError"
def r1(D, x):
    """E ‖∇D(x)‖² over the batch x (N, features), differentiable."""
    # solution
    x = Tensor(x.data, requires_grad=True)
    (slope,) = grad(D(x).sum(), [x], create_graph=True)
    return (slope * slope).sum() / len(x)
    # end


# %% id="gan.penalty.check" check="gan.penalty" hint1="(slope,) = grad(D(x).sum(), [x], create_graph=True), after x has become a Tensor that requires a gradient." hint2="Squared, summed over everything, divided by the number of points: (slope * slope).sum() / len(x)."
def bowl(x, a):
    """D(x) = a ‖x‖², whose slope is 2 a x."""
    return (x * x).sum(dim=1) * a


def penalty_of_a_bowl(points, a):
    return np.array(r1(lambda v: bowl(v, Tensor(np.array(a))), Tensor(points)).item())


def right_penalty(points, a):
    return np.array((4 * a * a * (points**2).sum(axis=1)).mean())


check.equal(penalty_of_a_bowl, right_penalty, points=check.some.arrays((3, 2)), a=check.draw.floats(0.5, 2))


def slope_of_the_penalty(a):
    t = Tensor(np.array(float(a)), requires_grad=True)
    points = Tensor(np.array([[1.0, 2.0], [0.0, 1.0]]))
    penalty = r1(lambda v: bowl(v, t), points)
    if not penalty.requires_grad:
        raise check.Failed("the penalty depends on nothing any more: was create_graph=True forgotten?")
    return grad(penalty, [t])[0].item()


check.slopes(lambda a: 12.0 * float(a) ** 2, slope_of_the_penalty, a=check.draw.floats(0.5, 2))

# %% id="gan.tamed" predict="We play 300 steps with the penalty, and 300 without it. In which game is D steeper at the real points?" options=["with", "without"] answer="without"
class Tamed(Game):
    """D pays for its slope at real points."""

    def d_loss(self, real, fake):
        return super().d_loss(real, fake) + 0.5 * r1(self.D, real)


wild = Game().play(quick(300, 150), frames=1)
tamed = Tamed().play(quick(300, 150), frames=1)
real = Tensor(islands.sample(500, Generator(4)))
steep = [r1(it.D, real).item() for it in (wild, tamed)]
print("mean squared slope of D at real points:")
print(f"  without the penalty {steep[0]:.3f}, with it {steep[1]:.3f}")
assert steep[1] < 0.7 * steep[0]

# %% [markdown] id="gan.listings"
# ## Two listings that cannot work
#
# The following two losses stand in tutorials that have been copied thousands of times. Both run, both
# print falling losses. We give them the islands, and look.
#
# **Listing A** trains D on made pictures only, and labels them as *real*. (Two lines were meant: real
# pictures labelled real, made ones labelled made. One got lost, and the label stayed.)
#
# **Listing B** computes G's loss from the *picture* instead of from D's opinion of it:
# `loss(G(z), ones)` where `loss(D(G(z)), ones)` was meant.

# %% id="gan.wrong" predict="Listing A: D is told that everything it sees is real. What will D's loss do?" options=["fall to 0", "stay at 1.4", "explode"] answer="fall to 0"
class ListingA(Game):
    """D sees made points only, labelled as real."""

    def d_loss(self, real, fake):
        return F.softplus(-self.D(fake)).mean()


class ListingB(Game):
    """G's loss is taken on its points, as if they were logits."""

    def g_loss(self, fake):
        return F.softplus(-fake).mean()


a = ListingA().play(quick(300, 150), frames=1)
b = ListingB().play(quick(300, 150), frames=1)
for name, it in (("right", game), ("listing A", a), ("listing B", b)):
    d, g = it.log[-1]
    far = float(np.abs(it.points()).mean())
    print(f"{name:<10} losses: D {d:6.3f}, G {g:6.3f}   "
          f"islands: {it.found()[0]}   size of numbers: {far:5.2f}")
assert a.log[-1][0] < 0.1 and a.log[-1][1] < 0.1 and a.found()[0] <= 2
assert b.found()[0] <= 1 and np.abs(b.points()).mean() > 3

# %% [markdown] id="gan.wrong2"
# Both of A's losses fall to zero, beautifully, which in a healthy game *cannot happen*: what one
# gains, the other loses. Two networks have agreed that everything is real. G learns nothing about
# the islands, for no real point has ever been near either of them. Ask D about a point far outside, and
# about a real one:

# %% id="gan.diagnose"
def opinion(D, points):
    with no_grad():
        logits = D(Tensor(points.astype(np.float32))).numpy()
    return 1 / (1 + np.exp(-logits.mean()))


outside = 4.0 * np.ones((10, 2))
real = islands.sample(200, Generator(2))
for name, it in (("right", game), ("listing A", a)):
    print(f"{name:<10} D believes a real point "
          f"with {opinion(it.D, real):.3f}, nonsense with "
          f"{opinion(it.D, outside):.3f}")
assert opinion(a.D, outside) > 0.6 and opinion(a.D, real) > 0.5
assert opinion(game.D, outside) < 0.5
ends = [np.asarray(it.frames[-1].convert("RGB")) for it in (game, a, b)]
sheets = np.stack(ends).transpose(0, 3, 1, 2) / 255.0  # (N, 3, H, W)
show(grid(sheets, columns=3, value_range=(0, 1)), "gan-listings",
     "The right game, A and B (points far outside are drawn at the edge)")

# %% [markdown] id="gan.wrong3"
# In B, G has no idea that D exists. It pushes its numbers up, because large numbers have a small loss:
# the points fly off to the upper right. With pictures: they turn white.
#
# The tests for both are cheap, and worth having in every program of this kind: *does D's step use a real
# batch? Does G's loss change when D changes?*

# %% id="gan.cheap"
def g_loss_depends_on_d(game):
    fake = game.G(Tensor(Generator(5).normal((64, 2))))
    slopes = grad(game.g_loss(fake), game.opt_d.params)
    return any(np.abs(s.numpy()).max() > 0 for s in slopes)


def d_loss_depends_on_real(game):
    fake = game.G(Tensor(Generator(5).normal((64, 2)))).detach()
    real = Tensor(islands.sample(64, Generator(6)), requires_grad=True)
    loss = game.d_loss(real, fake)
    return bool(np.abs(grad(loss, [real])[0].numpy()).max() > 0)


print(f"{'':<10} D sees the real   G hears D")
for name, it in (("right", game), ("listing A", a), ("listing B", b)):
    answers = d_loss_depends_on_real(it), g_loss_depends_on_d(it)
    print(f"{name:<10} {answers[0]!s:<15}   {answers[1]}")
assert g_loss_depends_on_d(game) and d_loss_depends_on_real(game)
assert not d_loss_depends_on_real(a) and not g_loss_depends_on_d(b)

# %% [markdown] id="gan.digits"
# ## Digits
#
# Now pictures. minigen's `dcgan` (Radford, Metz and Chintala, 2016) plays exactly this game. G is made of
# the transposed convolutions of lesson 5, D of convolutions; read the loop, you know every line of it.

# %% id="gan.read"
import inspect

from minigen.models import dcgan

loop = inspect.getsource(dcgan.train)
print(loop.split("run.watch(draw_fixed)")[1])
assert "D(x_fake.detach())" in loop

# %% [markdown] id="gan.digits2"
# The run here is a short one with narrow networks, to show the beginning: out of grey noise come
# strokes, and out of strokes something that wants to be digits. `minigen train dcgan` is the full one.
#
# Two numbers tell how far it has come. *Decided* is the share of pixels that are nearer to ink or to
# paper than to the grey between them: small for noise, large for drawn digits. *Ink* is the share of
# pixels on the bright side of that grey.

# %% id="gan.train" minutes=0.2
from minigen.training import NullRun

data = glyphs(n=quick(3000, 600), seed=9)
config = dcgan.Config(width=8, latent=32, batch=32, lr=2e-3, ema=0.9,
                      steps=quick(250, 16))


class Watching(NullRun):
    """Keeps a grid of samples now and then."""

    def watch(self, draw):
        self.draw_now, self.samples_seen = draw, [draw()]

    def _end_of_step(self, batch):
        super()._end_of_step(batch)
        if self.step % max(self.total // 8, 1) == 0:
            self.samples_seen.append(self.draw_now())


def decided(pictures):
    return float((np.abs(pictures) > 0.5).mean())


def ink(pictures):
    return float((pictures > 0).mean())


run = Watching()
model = dcgan.train(config, data, Generator(9), run)
seen = {"at first": run.samples_seen[0], "at the end": run.samples_seen[-1],
        "real digits": data.normalised()}
for name, pictures in seen.items():
    shares = decided(pictures), ink(pictures)
    print("{:<12} decided {:4.0%}   ink {:4.0%}".format(name, *shares))
pages = [grid(pictures[:36], scale=2, value_range=(-1, 1))
         for pictures in run.samples_seen]
show(pages, "gan-digits",
     "Samples of the generator while it learns, always from the same z")
first, last, real = seen.values()
assert decided(first) < 0.1 < 0.8 < decided(real)
assert last.mean() < first.mean()  # a few steps teach it the paper
if not quick(False, True):
    assert decided(last) > 0.6 and 0.5 < ink(last) / ink(real) < 2

# %% [markdown] id="gan.ema.case"
# ## A bug
#
# The samples above do not come from the generator that plays, but from an *average* of it over its last
# steps (an exponential moving average, EMA), because single steps of a GAN circle around the good place.
# In the version in your workspace the average is hasty: it is hardly an average at all. Samples flicker
# from step to step, and no loss shows it.

# %% id="gan.ema.symptom"
from minigen.lesson.planted import load

Hasty = load("optimisers/average-weighed-the-wrong-way", "EMA")
weight = [Tensor(np.zeros(1))]
average, hasty = minigen.optim.EMA(weight, 0.9), Hasty(weight, 0.9)
seen = []
for step in range(40):
    weight[0].data[...] = 1 + (-1) ** step  # 2, 0, 2, 0, ...: around 1
    average.update()
    hasty.update()
    seen.append([float(it.average["0"][0]) for it in (average, hasty)])
last = np.round(seen[-4:], 2)
print("average, last four steps:", last[:, 0])
print("hasty,   last four steps:", last[:, 1])
assert abs(seen[-1][0] - 1) < 0.1 and abs(seen[-1][1] - 1) > 0.5

# %% [markdown] id="gan.ema.task"
# Find the wrong line in `EMA`, and mend it.

# %% id="gan.ema" exercise=true points=1 time=10 bug="optimisers/average-weighed-the-wrong-way" of="EMA"
from minigen.optim import EMA

# %% id="gan.ema.check" check="gan.ema" hint1="The first line of the docstring is the formula. With decay = 0.999, how much of the new value should enter at each step?" hint2="average + (1 - decay) · (p - average) is decay · average + (1 - decay) · p."
import numpy as np

from minigen import Tensor
from minigen.lesson import check


def average_is_the_formula(decay, values):
    p = [Tensor(np.array([values[0]]))]
    ema, right = EMA(p, decay), values[0]
    for v in values[1:]:
        p[0].data[...] = v
        ema.update()
        right = decay * right + (1 - decay) * v
    out = [Tensor(np.zeros(1))]
    ema.copy_to(out)
    check.compare(out[0].numpy(), np.array([right]), "the average", size=2.0)


check.law("average ← decay · average + (1 - decay) · p", average_is_the_formula,
          decay=check.draw.floats(0, 1),
          values=check.draw.lists(check.draw.floats(-2, 2), min_size=2, max_size=5))

# %% [markdown] id="gan.end"
# ## What comes next
#
# A game has no loss that tells you how good the pictures are; both losses are opinions of the opponent.
# How one *measures* a generator is a lesson of its own. For now: `minigen train dcgan`, and
# `minigen eval RUN` lets a classifier count which digits it makes.
#
# In PyTorch the two losses are `binary_cross_entropy_with_logits` with targets of ones and zeros, and the
# second order is `torch.autograd.grad(..., create_graph=True)`, as here.
#
# **What to remember.** D's loss near 1.386 is good news, and zero is bad news. Collapse is a matter of
# speed and of cliffs. And before you wait for a GAN: check that D sees real pictures, and that G's loss
# passes through D.
