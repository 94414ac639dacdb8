"""Image GPT: a transformer that draws an image pixel by pixel, row by row.

    p(x) = Π_t p(x_t | x_<t)        minimise  -log p(x) = Σ_t cross_entropy(logits_t, x_t)

A pixel is a token: the index of the nearest of a few colours (the palette). Blocks are those of
GPT-2: h ← h + attention(norm(h)), h ← h + mlp(norm(h)), and t attends to s ≤ t.

Source: Chen et al., "Generative pretraining from pixels", 2020; Radford et al. (GPT-2), 2019.
Deviations, each to learn more from fewer images:
- A position is told by learned vectors of its row and of its column, not one vector per pixel.
- Besides the token before it, a pixel is told those above left, above and above right, each by a
  learned vector per token: what a causal 3×3 convolution of one-hot tokens computes.
- The palette has 16 colours by default (k-means of the training pixels), the paper's has 512.
The likelihood is that of the tokens; it is exact, and compares with models of the same palette and
size only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from minigen_kernels import empty

from minigen import functional as F
from minigen import nn
from minigen.capture import captured
from minigen.data import Batches, ImageSet
from minigen.errors import UsageError
from minigen.models.limits import misfit, within
from minigen.models.palette import make_palette, nearest, reduced
from minigen.optim import AdamW, clip_grad_norm, cosine
from minigen.tensor import Tensor, grad, no_grad

NEIGHBOURS = ((0, -1), (-1, -1), (-1, 0), (-1, 1))  # (rows, columns) from a pixel; all before it


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of the image GPT."""

    size: int = 14  # side that images are reduced to, by the mean of squares of pixels
    channels: int = 1  # 1 grey, 3 colour
    levels: int = 16  # colours of the palette
    width: int = 64  # of the vectors
    layers: int = 4  # blocks
    n_heads: int = 4  # of attention; they divide the width
    batch: int = 64  # images
    steps: int = 2500  # nearly three epochs of MNIST
    lr: float = 2e-3  # the highest; small transformers bear more than the 6e-4 of large ones
    warmup: int = 100  # steps in which lr rises from 0: Adam's second moments are rough at first
    weight_decay: float = 0.01  # AdamW's default; overfitting is no danger within a few epochs
    beta2: float = 0.95  # GPT's: forgets faster than 0.999, which suits short runs
    clip: float = 1.0  # largest norm of the gradient, against rare bad steps

    def __post_init__(self):
        names = ("size", "channels", "levels", "width", "layers", "n_heads", "batch", "steps")
        within(self, 1, *names)
        within(self, 0, "warmup", "lr", "weight_decay", "clip")
        within(self, 0, "beta2", below=1)
        if self.width % self.n_heads:
            raise UsageError(f"n-heads {self.n_heads}: must divide the width, {self.width}")


PRESETS = {
    "14": Config(),
    "28": Config(size=28, batch=16, steps=4000),  # four times the pixels, a quarter of the batch
}


def config_for(shape: tuple[int, ...], preset: str | None = None) -> Config:
    """The preset (default: "14") for images of shape (C, H, W).

    The preset's size is that for 28 pixels: "14" halves the side of the images, "28" keeps it.
    """
    channels, height, width = shape
    config = PRESETS[preset or "14"]
    factor = 28 // config.size
    if height != width or height % factor:
        raise UsageError(
            f"image-gpt, preset {preset or '14'}, takes square images with a side that {factor} "
            f"divides, not {height}×{width}; for your own pictures give --data FOLDER "
            "--image-size 28."
        )
    return replace(config, size=height // factor, channels=channels)


def check(config: Config, shape: tuple[int, ...]) -> None:
    """UsageError unless images of shape (C, H, W) can be reduced to the model's size."""
    channels, height, width = shape
    if channels != config.channels or height != width or height % config.size:
        raise misfit(config, shape)


# ---- pixels and tokens


def tokens_of(model: ImageGPT, images: np.ndarray) -> np.ndarray:
    """uint8 images (N, C, H, W) → tokens int64 (N, size, size)."""
    x = reduced(images, model.config.size).transpose(0, 2, 3, 1)  # (N, h, w, C)
    return nearest(x, model.palette.numpy())


def images_of(model: ImageGPT, tokens: np.ndarray) -> np.ndarray:
    """Tokens (N, size, size) → images (N, C, size, size) in [-1, 1]."""
    return np.ascontiguousarray(model.palette.numpy()[tokens].transpose(0, 3, 1, 2))


@functools.cache
def neighbours(height: int, width: int) -> np.ndarray:
    """Where the NEIGHBOURS of each pixel stand in the flat image, (h·w, 4); h·w: beyond the edge.

    The pixel before the first of a row is the last of the row above.
    """
    padded = np.full((height + 1, width + 2), height * width)  # a row above, a column at each side
    padded[1:, 1:-1] = np.arange(height * width).reshape(height, width)
    views = [padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in NEIGHBOURS]
    out = np.stack(views, -1).reshape(height * width, len(NEIGHBOURS))
    out[1:, 0] = np.arange(height * width - 1)
    out.flags.writeable = False  # everybody gets the same array
    return out


def context(tokens: np.ndarray, start: int) -> np.ndarray:
    """What each pixel is told: its NEIGHBOURS' tokens, or `start` beyond the edge.

    (N, h, w) → (N, h·w, 4), rows of the image one after another.
    """
    n, h, w = tokens.shape
    flat = np.full((n, h * w + 1), start, np.int64)  # the last stands for all beyond the edge
    flat[:, :-1] = tokens.reshape(n, h * w)
    return flat.take(neighbours(h, w), axis=1)


# ---- network


class Block(nn.Module):
    """h ← h + attention(norm(h)); h ← h + mlp(norm(h))"""

    def __init__(self, width: int, n_heads: int, *, rng: Any):
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, rng=rng)
        self.out = nn.Linear(width, width, rng=rng)
        self.mlp_in = nn.Linear(width, 4 * width, activation="gelu", rng=rng)
        self.mlp_out = nn.Linear(4 * width, width, rng=rng)

    def forward(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        """h (B, T, D) → (B, T, D); with a cache, T = 1 and the pixels before are those in it."""
        b, t, d = h.shape
        qkv = self.qkv(self.norm1(h)).reshape((b, t, 3, self.n_heads, d // self.n_heads))
        qkv = qkv.permute((2, 0, 3, 1, 4))
        q, k, v = qkv if cache is None else cache.extended(qkv)  # (B, heads, T, d) each
        a = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        h = h + self.out(a.transpose(1, 2).reshape((b, t, d)))  # (B, T, heads, d) → (B, T, D)
        return h + self.mlp_out(self.mlp_in(self.norm2(h)))


class Cache:
    """Keys and values of the pixels so far, of one block: a pixel's are computed once."""

    def __init__(self, length: int):
        self.length, self.t = length, 0
        self.kv: Any = None  # (2, B, heads, length, d), of which t pixels are filled in

    def extended(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next pixel's query, of its (3, B, heads, 1, d); all keys, all values (B, heads, t, d)
        with its own behind."""
        new = qkv.data
        if self.t == 0:
            self.kv = empty((2, *new.shape[1:3], self.length, new.shape[4]), new.dtype, new)
        self.kv[:, :, :, self.t] = new[1:, :, :, 0]
        self.t += 1
        k, v = self.kv[:, :, :, : self.t]
        return Tensor(new[0]), Tensor(k), Tensor(v)


class ImageGPT(nn.Module):
    """Context (B, T, 4) at places, rows and columns (T,) → logits (B, T, levels) of the pixels."""

    palette: Tensor  # the colours of the tokens, (levels, C) in [-1, 1]

    def __init__(self, config: Config, *, rng: Any):
        self.config = config
        d = config.width
        self.token = nn.ModuleList(
            nn.Embedding(config.levels + 1, d, rng=rng) for _ in NEIGHBOURS
        )  # one more than the levels: what lies beyond the edge
        self.row = nn.Embedding(config.size, d, rng=rng)
        self.column = nn.Embedding(config.size, d, rng=rng)
        self.blocks = nn.ModuleList(Block(d, config.n_heads, rng=rng) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, config.levels, rng=rng)
        grey = np.linspace(-1, 1, config.levels, dtype=np.float32)[:, None]
        self.register_buffer("palette", Tensor(grey.repeat(config.channels, 1)))
        init_weights(self, config.layers, rng)

    def places(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows and columns (T,) of positions (T,) counted through the image."""
        rows, columns = np.divmod(positions, self.config.size)
        return Tensor(rows).to(self.device), Tensor(columns).to(self.device)

    def forward(
        self, context: Tensor, places: tuple[Tensor, Tensor], caches: list[Cache] | None = None
    ) -> Tensor:
        rows, columns = places
        h = self.row(rows) + self.column(columns)  # (T, D)
        for i, table in enumerate(self.token):
            h = h + table(context[..., i])  # (B, T, D)
        for i, block in enumerate(self.blocks):
            h = block(h, None if caches is None else caches[i])
        return self.head(self.norm(h))


def init_weights(model: ImageGPT, layers: int, rng: Any) -> None:
    """GPT-2's: N(0, 0.02²), biases 0; what ends a branch is smaller by √(2·layers), so that the sum
    of all branches does not grow with their number."""
    for name, p in model.named_parameters():
        if p.ndim == 2:
            ends = name.endswith(("out.weight", "mlp_out.weight"))
            nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * layers) if ends else 0.02, rng=rng)
        elif name.endswith("bias"):
            nn.init.zeros_(p)


# ---- the loss


def nats(model: ImageGPT, tokens: np.ndarray) -> Tensor:
    """-log p(x) of every image, in nats: tokens (N, h, w) → (N,)."""
    return nats_told(model, *told(model, tokens), model.places(np.arange(tokens[0].size)))


def told(model: ImageGPT, tokens: np.ndarray) -> tuple[Tensor, Tensor]:
    """What the pixels of tokens (N, h, w) are told, (N, T, 4), and what they are, (N, T)."""
    n = len(tokens)
    return Tensor(context(tokens, model.config.levels)), Tensor(tokens.reshape(n, -1))


def nats_told(
    model: ImageGPT, context: Tensor, tokens: Tensor, places: tuple[Tensor, Tensor]
) -> Tensor:
    """nats() of what told() gives."""
    n, t = tokens.shape
    logits = model(context.to(model.device), places)  # (N, T, levels)
    flat = logits.reshape((n * t, model.config.levels))
    losses = F.cross_entropy(flat, tokens.reshape((n * t,)), reduction="none")
    return losses.reshape((n, t)).sum(1)


# ---- using it


def build(config: Config, rng: Any) -> ImageGPT:
    """A new model, with an even palette from black to white until train() has seen the pixels."""
    return ImageGPT(config, rng=rng)


def sample(model: ImageGPT, n: int, rng: Any) -> np.ndarray:
    """n images (n, C, size, size) in [-1, 1]."""
    return images_of(model, draw(model, np.zeros((n, 0), np.int64), rng))


def complete(model: ImageGPT, images: np.ndarray, rng: Any, rows: int | None = None) -> np.ndarray:
    """Images whose first rows (of the model's size; default: half of them) are those of uint8
    images (N, C, H, W), and the rest drawn: (N, C, size, size) in [-1, 1]."""
    size = model.config.size
    given = tokens_of(model, images)[:, : size // 2 if rows is None else rows]
    return images_of(model, draw(model, given.reshape(len(given), -1), rng))


def draw(model: ImageGPT, given: np.ndarray, rng: Any, cached: bool = True) -> np.ndarray:
    """Tokens (N, size, size): first those given (N, t), then one after another from p(x_t | x_<t).

    cached=False computes everything before a pixel again for each: slow, but the same.
    """
    size, levels = model.config.size, model.config.levels
    (n, known), pixels = given.shape, size * size
    tokens = np.full((n, pixels + 1), levels, np.int64)  # the last: what lies beyond the edge
    tokens[:, :known] = given
    told, (rows, columns) = neighbours(size, size), model.places(np.arange(pixels))
    caches = [Cache(pixels) for _ in model.blocks] if cached else None
    device, u = model.device, rng.uniform((pixels - known, n, 1), np.float64)

    with no_grad():
        for t in range(pixels):
            now = slice(t if cached else 0, t + 1)
            seen = Tensor(tokens.take(told[now], axis=1)).to(device)  # (N, 1 or t + 1, 4)
            logits = model(seen, (rows[now], columns[now]), caches)
            if t >= known:  # the first level at which the summed probabilities exceed u
                p = F.softmax(logits[:, -1], -1).numpy().astype(np.float64)
                tokens[:, t] = (p.cumsum(1)[:, :-1] <= u[t - known]).sum(1)
    return tokens[:, :-1].reshape(n, size, size)


def restore(config: Config, state: Mapping[str, Any]) -> ImageGPT:
    """The model of a checkpoint."""
    from minigen_kernels.random import Generator

    model = build(config, Generator(0))  # every value is replaced
    model.load_state_dict(state["model"])
    return model


def train(config: Config, data: ImageSet, rng: Any, run: Any) -> ImageGPT:
    """AdamW on -log p(x), the mean over pixels."""
    model = build(config, rng.split("model"))
    some = data.images[:: max(1, len(data) // 2000)]
    model.palette.data[...] = make_palette(reduced(some, config.size), config.levels)
    model.to(run.device)
    opt = AdamW(
        model.parameters(), config.lr, (0.9, config.beta2), weight_decay=config.weight_decay
    )
    batches = Batches(data, config.batch, seed=rng.seed)
    pixels = config.size**2
    warmup = min(config.warmup, config.steps - 1)  # a run may be as short as one likes
    places = model.places(np.arange(pixels))

    run.keep(model=model, opt=opt, batches=batches)
    run.watch(lambda: sample(model, 25, rng.split("watch")))

    def learn(seen: Tensor, tokens: Tensor) -> tuple[Tensor, Any]:
        # minimise -log p(x) / pixels
        loss = nats_told(model, seen, tokens, places).mean() / pixels
        grads, norm = clip_grad_norm(grad(loss, opt.params), config.clip)
        opt.step(grads)
        return loss, norm

    learn = captured(learn, model.device, run.say)
    for step, indices in run.steps(batches, config.steps):
        opt.lr = cosine(step, lr=config.lr, total=config.steps, warmup=warmup)
        loss, norm = learn(*told(model, tokens_of(model, data.images[indices])))
        run.log(nats_per_image=loss * pixels, gradient_norm=norm)
    return model


def evaluate(
    model: ImageGPT, data: ImageSet, rng: Any = None, limit: int | None = None, batch: int = 50
) -> dict[str, float]:
    """Exact -log p(x) of `data` (or its first `limit` images): nats per image, bits per pixel."""
    images = data.images[:limit]
    total = 0.0
    with no_grad():
        for start in range(0, len(images), batch):
            x = nats(model, tokens_of(model, images[start : start + batch]))
            total += float(x.numpy().sum(dtype=np.float64))
    per_image = total / max(len(images), 1)
    bits = per_image / (model.config.size**2 * math.log(2))
    return {"test_nats": per_image, "bits_per_pixel": bits, "images": float(len(images))}


def flop_per_step(config: Config) -> float:
    """2 · multiplications, forward and backward (twice as dear as forward); half of T × T."""
    t, d = config.size**2, config.width
    block = 12 * d * d + t * d  # per pixel
    return 6.0 * config.batch * t * (config.layers * block + d * config.levels)
