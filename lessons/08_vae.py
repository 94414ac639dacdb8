# %% [raw]
# title = "A variational auto-encoder"
# level = 3
# needs = ["03_trust"]
# read_minutes = 40
# cpu_minutes = 0.7
# memory_mb = 400
# seed = 8

# %% [markdown] id="vae.title"
# # A variational auto-encoder
#
# So far our programs judged what they were shown. Now one shall **make** something: pictures of
# digits that nobody has drawn. The idea of this lesson is to describe a picture by very few numbers,
# to learn both directions, picture to numbers and numbers to picture, and then to invent numbers.
#
# It sounds like compression, and it nearly is. What makes it a *generator* is one term in the loss,
# which comes out of one inequality. Many people have copied that term, and many of the copies are
# wrong in a way that no crash and no loss curve shows. You will derive it, check it against an
# integral, and break it on purpose to see what happens.

# %% id="vae.start"
import math

import numpy as np

from minigen import Generator, Tensor
from minigen import functional as F
from minigen.data import glyphs
from minigen.draw import plot
from minigen.images import grid, strip
from minigen.lesson import check, quick, show
from minigen.models import vae
from minigen.training import NullRun

rng = np.random.default_rng(8)

# %% [markdown] id="vae.story"
# ## A story about how pictures come to be
#
# Suppose every picture $x$ was made in two steps. First somebody drew a few hidden numbers $z$ from
# a bell curve (which digit, how slanted, how bold), without telling us. Then a decoder, a network,
# turned $z$ into a picture, with some noise: $p(x \mid z)$. The probability of a picture is then the average
# over all $z$ that might have been drawn:
#
# $$p(x) = \int p(x \mid z)\; p(z)\; dz$$
#
# Good pictures should be probable, so we would like to turn the decoder's knobs until
# $\log p(x)$ is large for the pictures we have. But the integral runs over all $z$, and for a given
# picture almost every $z$ contributes nothing: a random $z$ decodes to some other digit.
#
# What we would need is a hint which $z$ are worth looking at. So let a second network, the encoder,
# look at the picture and give a guess: a bell curve $q(z \mid x)$ with a mean $\mu$ and a variance
# $\sigma^2$ of its own for every picture. (A bell curve with this mean and variance is written
# $N(\mu, \sigma^2)$; the one that $z$ is drawn from is $N(0, 1)$.)
#
# ## The evidence bound, in three lines
#
# Take any $q$ at all. Multiply and divide by it, and the integral becomes an average over all $z$ that
# might be drawn from $q$:
#
# $$\log p(x) = \log \int q(z)\,\frac{p(x \mid z)\,p(z)}{q(z)}\,dz$$
#
# The logarithm bends downwards, so the log of an average is at least the average of the logs
# (this is Jensen's inequality):
#
# $$\log p(x) \geq \int q(z)\,\log \left(\frac{p(x \mid z)\,p(z)}{q(z)}\right)\,dz$$
#
# Take the log of the fraction apart, and there are two terms with clear jobs:
#
# $$\log p(x) \geq E_q[\log p(x \mid z)] - KL(q \,\Vert\, p(z))$$
#
# $E_q$ is that average over $q$. The first term asks that pictures are rebuilt well from guessed $z$.
# The second is the rest of the integral, the *Kullback-Leibler divergence*
#
# $$KL(q \,\Vert\, p(z)) = \int q(z)\,\log \left(\frac{q(z)}{p(z)}\right)\,dz$$
#
# It is the price for a guess that differs from the bell curve from which $z$ was drawn: 0 if they are
# the same, and larger the more they differ. Together the two terms are the **evidence lower bound**,
# ELBO. We push the bound up, and $\log p(x)$ is above it, wherever that is.

# %% [markdown] id="vae.toy"
# ## Never believe a bound that you have not measured
#
# There is a toy for which everything can be computed: one hidden number, $z \sim N(0, 1)$, and one
# visible one, $x \sim N(z, 1)$. Then $p(x)$ is $N(0, 2)$ exactly, and the best guess about $z$ after
# seeing $x$ is $N(x/2, 1/2)$. We compute the bound by plain numerical integration, for guesses with
# different means. (Logarithms are natural ones here, and a bound made of them is counted in *nats*; in
# bits it would be counted with logarithms to the base 2.)

# %% id="vae.bound" predict="We try many guesses q. Will the bound reach log p(x) for one of them?" options=["yes", "never"] answer="yes"
zs = np.linspace(-12, 12, 6001)
dz = zs[1] - zs[0]


def log_normal(v, mean, variance):
    square = (v - mean) ** 2 / variance
    return -0.5 * (np.log(2 * np.pi * variance) + square)


def elbo(x, mean, variance):
    """E_q[log p(x|z) + log p(z) - log q(z)], summed over a grid of z."""
    log_q = log_normal(zs, mean, variance)
    joint = log_normal(x, zs, 1.0) + log_normal(zs, 0.0, 1.0)
    inner = joint - log_q
    return float((np.exp(log_q) * inner).sum() * dz)


x = 1.4
exact = log_normal(x, 0.0, 2.0)
means = np.linspace(-1, 2.5, 40)
wide = [elbo(x, m, 1.0) for m in means]
best = [elbo(x, m, 0.5) for m in means]
at_best = elbo(x, x / 2, 0.5)
print(f"log p(x) = {exact:.6f}   bound at the best guess = {at_best:.6f}")
print(f"largest bound with variance 1: {max(wide):.6f}")
assert abs(at_best - exact) < 1e-6
assert max(max(wide), max(best)) <= exact + 1e-9
for m in (-0.5, 2.0):  # the gap is KL(q ‖ p(z|x)), here of two bell curves
    gap = exact - elbo(x, m, 1.0)
    kl_to_truth = 0.5 * (1 / 0.5 + (m - x / 2) ** 2 / 0.5 - 1 + np.log(0.5))
    assert abs(gap - kl_to_truth) < 1e-9
curves = {
    "guess of variance 1/2": (means, best),
    "guess of variance 1": (means, wide),
    "log p(x)": (means, [exact] * len(means)),
}
show(plot(curves, title="The evidence bound of many guesses",
          x="mean of the guess q", y="nats"),
     "vae-bound",
     "The evidence bound for two families of guesses, and what it bounds")

# %% [markdown] id="vae.bound2"
# The bound touches $\log p(x)$ in one point only: where $q$ is the true distribution of $z$ given $x$.
# Everywhere else the gap is exactly the divergence between the guess and that truth (the code checks
# it for two guesses). So pushing the bound up does two things at once: it makes pictures probable,
# and it makes the guesses honest.

# %% [markdown] id="vae.kl.task"
# ## Your turn: the divergence
#
# For two bell curves the integral in the second term has a closed form. For one hidden number with
# mean $\mu$ and variance $\sigma^2$ against $N(0, 1)$:
#
# $$KL = \frac{1}{2}\left(\mu^2 + \sigma^2 - 1 - \log \sigma^2\right)$$
#
# For several numbers it is the **sum**, because independent numbers are paid for one by one. The
# encoder gives $\log \sigma^2$, called `logvar`, because any real number is a legal logarithm.
#
# Write `kl(mu, logvar)` for NumPy arrays (N, D): N values, each the sum over its D hidden numbers.

# %% id="vae.kl" exercise=true points=1 time=10 uses=["vae.start"] stub="raise NotImplementedError"
def kl(mu, logvar):
    """KL(N(μ, σ²) ‖ N(0, 1)) of each row: (N, D), (N, D) → (N,)"""
    # solution
    return 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)
    # end


# %% id="vae.kl.check" check="vae.kl" hint1="σ² is np.exp(logvar), and log σ² is logvar itself. Nothing else needs an exp or a log." hint2="0.5 * (mu**2 + np.exp(logvar) - 1 - logvar), summed over axis 1. Summed, not averaged."
def kl_by_integration(mu, logvar):
    """The definition, ∫ q log(q/p), on a grid of z, one hidden number at a time."""
    z = np.linspace(-30, 30, 20001)
    out = np.zeros(len(mu))
    for n, d in np.ndindex(mu.shape):
        variance = np.exp(logvar[n, d])
        log_q = -0.5 * (np.log(2 * np.pi * variance) + (z - mu[n, d]) ** 2 / variance)
        log_p = -0.5 * (np.log(2 * np.pi) + z**2)
        out[n] += (np.exp(log_q) * (log_q - log_p)).sum() * (z[1] - z[0])
    return out


check.equal(kl, kl_by_integration, rtol=1e-6, mu=check.some.arrays((2, 3), check.some.between(-2, 2)),
            logvar=check.some.arrays((2, 3), check.some.between(-2, 2)))

# %% [markdown] id="vae.copied"
# Your formula was held to the integral that it stands for. That is the whole trick: **the divergence
# is defined without the formula, so the formula can be checked.** Now look at three lines that are
# found, in one form or another, in a great many notebooks. Each trains. Each gives pictures.
#
# - **Listing A**: the mean over everything, next to a reconstruction that is *summed* over the pixels;
# - **Listing B**: the network's output is called `logvar`, but used as the log of the *deviation*;
# - **Listing C**: the factor 1/2 is lost.

# %% id="vae.listings" predict="Which of the three is 0 for the perfect guess, mu = 0 and logvar = 0, as it should be: only A, only B, or all?" options=["A", "B", "all"] answer="all"
def listing_a(mu, logvar):
    mean = np.mean(1 + logvar - mu**2 - np.exp(logvar))
    return np.full(len(mu), -0.5 * mean)


def listing_b(mu, logvar):
    terms = mu**2 + np.exp(logvar) ** 2 - 1 - 2 * logvar
    return 0.5 * terms.sum(axis=1)


def listing_c(mu, logvar):
    return (mu**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)


zero = np.zeros((4, 20))
one = np.ones((4, 20))
formulas = {"by integration": kl_by_integration, "yours": kl,
            "listing A": listing_a, "listing B": listing_b,
            "listing C": listing_c}
table = {}
print(f"{'':<16}{'at (0, 0)':>10}{'at mu = 1':>12}{'at logvar = 1':>15}")
for name, f in formulas.items():
    at = (zero, zero), (one, zero), (zero, one)
    values = [f(*z)[0] + 0.0 for z in at]  # + 0.0: no minus before a zero
    print("{:<16}{:>10.3f}{:>12.3f}{:>15.3f}".format(name, *values))
    table[name] = values
assert all(abs(values[0]) < 1e-9 for values in table.values())
assert np.allclose(table["yours"], table["by integration"], atol=1e-6)
assert abs(table["yours"][1] - 10) < 1e-12
assert abs(table["listing A"][1] - 10 / 20) < 1e-12
assert abs(table["listing B"][1] - 10) < 1e-12
assert 6 < table["listing B"][2] / table["yours"][2] < 6.5
assert np.allclose(table["listing C"], 2 * np.array(table["yours"]))

# %% [markdown] id="vae.copied2"
# All three are zero where they should be, none is ever negative, all have their minimum in the right
# place. A plot of the loss shows nothing. But with 20 hidden numbers, A asks for a twentieth of the
# price (0.5 instead of 10); B is right about $\mu$ and six times too strict about $\sigma$ at that
# point; C asks for double.
#
# Is a wrong *weight* a bug? Not if you meant it: the β-VAE multiplies the divergence by a β on
# purpose. It is a bug if your text says ELBO, because then your number is not a bound of anything.
# And A has a consequence that you will see in a moment with your own eyes.

# %% [markdown] id="vae.sample.task"
# ## Your turn: sampling without losing the slope
#
# To estimate $E_q[\log p(x \mid z)]$ we draw one $z$ from the guess, decode it, and compare. But what
# is the slope of "draw a random number" along the mean of the distribution that it is drawn from?
#
# The way out is called **reparameterisation**. Draw the randomness first, from a bell curve that
# depends on nothing, $\varepsilon \sim N(0, 1)$, and then compute:
#
# $$z = \mu + \sigma\,\varepsilon$$
#
# Now $z$ is an ordinary function of $\mu$ and $\sigma$, with the slopes 1 and $\varepsilon$, and the
# gradient goes through. Write it, for Tensors `mu` and `logvar` and an array `eps`. Mind the
# difference between $\sigma$ and $\sigma^2$.

# %% id="vae.sample" exercise=true points=1 time=5 uses=["vae.start"] stub="raise NotImplementedError"
def reparameterised(mu, logvar, eps):
    """z = μ + σ ε, a Tensor, from Tensors μ and log σ² and an array ε."""
    # solution
    return mu + (0.5 * logvar).exp() * Tensor(eps)
    # end


# %% id="vae.sample.check" check="vae.sample" hint1="σ is the root of σ²: half of the logarithm, then exp. Tensors have .exp()." hint2="mu + (0.5 * logvar).exp() * Tensor(eps)"
def spread_is_sigma(mean, logvar):
    eps = np.random.default_rng(0).standard_normal((4000, 1))
    z = reparameterised(Tensor(np.full((4000, 1), mean)), Tensor(np.full((4000, 1), logvar)), eps)
    check.compare(np.array([z.numpy().std()]), np.array([math.exp(0.5 * logvar) * eps.std()]),
                  "the deviation of 4000 samples (exp(logvar/2) times that of eps)", 1e-9)
    check.compare(np.array([z.numpy().mean()]),
                  np.array([mean + math.exp(0.5 * logvar) * eps.mean()]), "their mean", 1e-9)


check.law("samples have the mean and the deviation that they should", spread_is_sigma,
          mean=check.draw.floats(-2, 2), logvar=check.draw.floats(-2, 2))
eps = np.random.default_rng(1).standard_normal((2, 3))
check.gradients(lambda mu, logvar: reparameterised(mu, logvar, eps), order=1,
                mu=check.some.arrays(check.draw.just((2, 3))),
                logvar=check.some.arrays(check.draw.just((2, 3))))

# %% [markdown] id="vae.read"
# ## The model
#
# Open minigen's own `minigen/models/vae.py`. It has two networks of two layers each, and a loss of
# two terms. The pixels are between 0 and 1 and are read as probabilities, so that
# $-\log p(x \mid z)$ is a sum over all pixels: of $-\log$ of the probability that the decoder gave to
# what the pixel is, which is called binary cross-entropy. (For pixels that are grey, neither 0 nor 1, that is strictly a loss and no probability. Everybody does it; it means
# that such figures compare only with others of their kind.)

# %% id="vae.source"
import inspect

print(inspect.getsource(vae.reparameterize))
print(inspect.getsource(vae.losses))
assert 'reduction="sum"' in inspect.getsource(vae.losses)

# %% [markdown] id="vae.train"
# Both terms are summed, over pixels and over hidden numbers: that is what makes the sum a bound. Now
# train it, on digits that minigen draws itself, with only **two** hidden numbers, so that we can
# look at all there is to see on a plane. Two numbers are very few, so we let it learn four kinds of
# digits only: 0, 1, 4 and 7.

# %% id="vae.learn" minutes=0.4
DIGITS = (0, 1, 4, 7)
everything = glyphs(n=quick(6000, 3000), seed=8)
chosen = np.flatnonzero(np.isin(everything.labels, DIGITS))
data = everything.take(chosen)
config = vae.Config(hidden=128, latent=2, batch=64, lr=2e-3,
                    steps=quick(2500, 400))
run = NullRun()
model = vae.train(config, data, Generator(8), run)
bound = np.array([log["loss"] for log in run.logs])
divergence = np.array([log["kl"] for log in run.logs])
before, after = bound[:10].mean(), bound[-50:].mean()
print(f"minus the bound, in nats per picture: {before:.0f} -> {after:.0f}")
print(f"of these, divergence: {divergence[-50:].mean():.1f}")
assert after < 0.45 * before
at = np.arange(0, len(bound) - 20, 10)
smooth = [bound[i : i + 20].mean() for i in at]
show(plot({"minus the bound": (at, smooth)}, x="step", y="nats per picture",
          title="Learning to describe digits"),
     "vae-loss", "Minus the evidence bound while the model learns")

# %% [markdown] id="vae.rebuilt"
# Digits (above), and what is left of them after they have gone through two numbers (below).

# %% id="vae.through"
some = [int(np.flatnonzero(data.labels == d)[0]) for d in DIGITS]
pictures = data.take(np.array(some)).normalised()
rebuilt = vae.reconstruct(model, pictures)
show(strip([pictures, rebuilt], scale=3, value_range=(-1, 1)),
     "vae-rebuilt", "Four digits, and the same through two numbers")

# %% [markdown] id="vae.plane"
# ## The plane of all digits
#
# Here are the pictures as points, up to 120 of each digit: the mean of the encoder's guess. The
# encoder was never told which digit is which; the colours are ours.

# %% id="vae.points"
codes = vae.encoded(model, data.normalised()).numpy()
spread = codes.std(axis=0)
print("deviation of the points along the two axes:", np.round(spread, 2))
clouds = {}
for d in DIGITS:
    mine = codes[data.labels == d][:120]
    clouds[f"digit {d}"] = (mine[:, 0], mine[:, 1])
# Of nearly all points, the nearest other one is the same digit.
probe = codes[:400, None] - codes[None]
distances = (probe**2).sum(axis=-1)
distances[np.arange(400), np.arange(400)] = np.inf
same = data.labels[distances.argmin(axis=1)] == data.labels[:400]
print(f"points whose neighbour is the same digit: {same.mean():.0%}")
assert same.mean() > quick(0.9, 0.8)
show(plot(points=clouds, title="Where the encoder puts the digits",
          equal=True, size=(560, 480)),
     "vae-points", "The latent plane, a point for each picture")

# %% [markdown] id="vae.plane2"
# And now the other way round, the thing we came for: take points of the plane, in even steps of
# probability, and decode them. Between the islands are the digits that nobody has drawn.

# %% id="vae.map"
from statistics import NormalDist

side = quick(18, 12)
steps = [(k + 0.5) / side for k in range(side)]
ticks = [NormalDist().inv_cdf(p) for p in steps]
plane = np.array([[a, -b] for b in ticks for a in ticks], dtype=np.float32)
world = vae.decoded(model, Tensor(plane))
show(grid(world, columns=side, pad=0, scale=2, value_range=(-1, 1)),
     "vae-plane", "The whole latent plane, decoded")

# %% [markdown] id="vae.between"
# A walk from one digit to another, in a straight line between their codes:

# %% id="vae.walk"
walks = []
for a, b in ((1, 7), (7, 0), (0, 4)):
    ends = pictures[DIGITS.index(a)], pictures[DIGITS.index(b)]
    walks.append(vae.interpolate(model, *ends, steps=12))
show(strip(walks, scale=2, value_range=(-1, 1)),
     "vae-walk", "From 1 to 7, from 7 to 0, from 0 to 4")
assert walks[0].shape == (12, 1, 28, 28)

# %% [markdown] id="vae.wrong"
# ## What the wrong divergence does
#
# Time to break it. Listing A averages where it should sum, over the batch and over the hidden
# numbers, while the reconstruction stays a sum over the batch and the pixels. Its divergence is then
# weighed with 1/(64 · 2) of what it should be: `beta = 1/128`. The loss will be *lower* than before,
# and the rebuilt digits *better*. Whoever looks at these two is delighted.
#
# Then somebody draws $z$ from $N(0, 1)$, as the story says, and decodes it.

# %% id="vae.broken" minutes=0.2 predict="Where will the broken model put its codes, compared to a bell curve of deviation 1: inside, right on it, or far outside?" options=["inside", "on", "outside"] answer="outside"
import dataclasses

beta = 1 / (config.batch * config.latent)
careless = dataclasses.replace(config, beta=beta)
broken = vae.train(careless, data, Generator(8), NullRun())
codes = vae.encoded(broken, data.normalised()).numpy()
broken_spread = codes.std(axis=0)
good = vae.evaluate(model, data, Generator(0))
bad = vae.evaluate(broken, data, Generator(0))
loss = bad["reconstruction"] + beta * bad["kl"]  # what listing A prints
print(f"{'':<24}{'right':>16}{'listing A':>16}")
for what, one, other in (
    ("deviation of codes", np.round(spread, 2), np.round(broken_spread, 2)),
    ("loss, as printed", f"{good['test_loss']:.1f}", f"{loss:.1f}"),
    ("reconstruction, nats",
     f"{good['reconstruction']:.1f}", f"{bad['reconstruction']:.1f}"),
    ("true bound, nats",
     f"{-good['test_loss']:.1f}", f"{-bad['test_loss']:.1f}"),
):
    print(f"{what:<24}{one!s:>16}{other!s:>16}")
assert beta == 1 / (64 * 2) == 1 / 128
assert broken_spread.max() > quick(2.0, 1.5) * spread.max()
assert loss < good["test_loss"]
assert bad["reconstruction"] < good["reconstruction"]
assert bad["test_loss"] > good["test_loss"]

# %% [markdown] id="vae.wrong2"
# The codes are scattered far beyond the bell curve from which we would draw. Its rebuilt digits are
# better and its *bound*, computed correctly, is worse: it describes pictures with hidden numbers
# that are far too improbable. Here are samples from both, for the same $z$.

# %% id="vae.samples"
z = Tensor(Generator(3).normal((40, 2)))
rows = []
for maker in (model, broken):
    samples = vae.decoded(maker, z)
    rows += [samples[:20], samples[20:]]
show(strip(rows, scale=2, value_range=(-1, 1)), "vae-samples",
     "Samples: two rows of the right model, two of listing A")

# %% [markdown] id="vae.detective.case"
# ## A bug
#
# A cousin of listing B, planted in minigen: in its own `gaussian_kl`, which the model above uses. The
# symptom: the divergence that is printed does not agree with the integral.

# %% id="vae.symptom"
from minigen.lesson.planted import load

planted = load("losses/kl-reads-logvar-as-deviation", "gaussian_kl")
mu, logvar = np.array([[0.5, -1.0]]), np.array([[1.0, -0.5]])
true = kl_by_integration(mu, logvar)[0]
found = planted(Tensor(mu), Tensor(logvar), reduction="sum").item()
healthy = F.gaussian_kl(Tensor(mu), Tensor(logvar), reduction="sum").item()
print(f"with the bug {found:.4f}   by integration {true:.4f}")
assert abs(found - true) > 0.5 and abs(healthy - true) < 1e-6

# %% [markdown] id="vae.deviation.task"
# Find the wrong line in `gaussian_kl`, and mend it.

# %% id="vae.deviation" exercise=true points=1 time=10 bug="losses/kl-reads-logvar-as-deviation" of="gaussian_kl"
from minigen.ops.loss import gaussian_kl

# %% id="vae.deviation.check" check="vae.deviation" hint1="The first line of the docstring is the formula. Without mu2 and logvar2, put μ₂ = 0 and σ₂² = 1 into it." hint2="½ (σ² + μ² - 1 - log σ²): logvar is log σ² already, so there is no 2 anywhere."
from minigen.lesson import check

check.op("gaussian_kl", gaussian_kl)

# %% [markdown] id="vae.end"
# ## What comes next
#
# Look at the samples once more. They are a little blurred, and they always will be: where the model is
# unsure, it answers with the average of what might be there, because averages are what a
# reconstruction term rewards. The next lesson throws the reconstruction term away.
#
# In PyTorch, `torch.distributions.kl_divergence` computes your `kl`, and the model above is the VAE of
# pytorch/examples; weights of the preset `mlp` can be exchanged with it by name.
# Source of the method: Kingma and Welling, "Auto-encoding variational Bayes", 2014.
#
# **What to remember.** The bound is a sum of two sums, and its parts must be weighed as the derivation
# weighs them. A formula that stands for an integral can be checked against the integral. And good
# reconstructions prove nothing about samples.
