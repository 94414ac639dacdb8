"""The models of minigen in idiomatic PyTorch, with the same names of weights: the twins that
training steps are compared with, in the tests for their results and here for their time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch.nn import functional as F

from minigen.models import image_gpt, vae


def torch_layers(layers: Any) -> torch.nn.Sequential:
    """The same layers, from the attributes that both libraries have, under the same names.

    An activation that is a convolution's own becomes a module after it.
    """
    built: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for i, layer in enumerate(layers):
        name = type(layer).__name__
        if name in ("Conv2d", "ConvTranspose2d"):
            first, second, *kernel = layer.weight.shape
            channels = (second, first) if name == "Conv2d" else (first, second)
            kind = getattr(torch.nn, name)
            built[str(i)] = kind(*channels, kernel, layer.stride, layer.padding, bias=False)
        elif name == "Linear":
            built[str(i)] = torch.nn.Linear(*layer.weight.shape[::-1])
        elif name == "BatchNorm2d":
            built[str(i)] = torch.nn.BatchNorm2d(len(layer.weight))
        else:
            built[str(i)] = activation(name)
        own = getattr(layer, "activation", None)
        if own is not None:
            built[f"{i} activation"] = activation(own if isinstance(own, str) else own[0])
    return torch.nn.Sequential(built)


def activation(name: str) -> torch.nn.Module:
    """torch's, by the name that it has there or in `activation=...`."""
    kinds: dict[str, torch.nn.Module] = {"relu": torch.nn.ReLU(), "tanh": torch.nn.Tanh()}
    return kinds.get(name.lower(), torch.nn.LeakyReLU(0.2))


class Layers(torch.nn.Module):
    """A network that is one Sequential named `layers`."""

    def __init__(self, ours: Any):
        super().__init__()
        self.layers = torch_layers(ours.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class TorchVAE(torch.nn.Module):
    """pytorch/examples' VAE, and its convolutional sibling."""

    def __init__(self, config: vae.Config):
        super().__init__()
        self.config = c = config
        pixels, w = c.size**2, c.width
        units = 2 * w * (c.size // 4) ** 2
        if c.network == "conv":
            self.conv1 = torch.nn.Conv2d(1, w, 4, 2, 1)
            self.conv2 = torch.nn.Conv2d(w, 2 * w, 4, 2, 1)
            self.conv3 = torch.nn.ConvTranspose2d(2 * w, w, 4, 2, 1)
            self.conv4 = torch.nn.ConvTranspose2d(w, 1, 4, 2, 1)
        ends = units if c.network == "conv" else pixels
        self.fc1, self.fc4 = torch.nn.Linear(ends, c.hidden), torch.nn.Linear(c.hidden, ends)
        self.fc21 = torch.nn.Linear(c.hidden, c.latent)
        self.fc22 = torch.nn.Linear(c.hidden, c.latent)
        self.fc3 = torch.nn.Linear(c.latent, c.hidden)

    def losses(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        conv = self.config.network == "conv"
        h = F.relu(self.conv2(F.relu(self.conv1(x)))) if conv else x
        h = F.relu(self.fc1(h.flatten(1)))
        mu, logvar = self.fc21(h), self.fc22(h)
        h = self.fc4(F.relu(self.fc3(mu + torch.exp(0.5 * logvar) * noise)))
        if conv:
            side = self.config.size // 4
            h = F.relu(h).unflatten(1, (2 * self.config.width, side, side))
            h = self.conv4(F.relu(self.conv3(h)))
        bce = F.binary_cross_entropy_with_logits(h.flatten(1), x.flatten(1), reduction="sum")
        return bce, -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


class TorchBlock(torch.nn.Module):
    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(d), torch.nn.LayerNorm(d)
        self.qkv, self.out = torch.nn.Linear(d, 3 * d), torch.nn.Linear(d, d)
        self.mlp_in, self.mlp_out = torch.nn.Linear(d, 4 * d), torch.nn.Linear(4 * d, d)

    def forward(self, h: torch.Tensor, cache: Any = None, at: int = 0) -> torch.Tensor:
        """With a cache (keys, values), preallocated, h is the token at `at` alone."""
        q, k, v = self.qkv(self.norm1(h)).chunk(3, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        if cache is not None:
            cache[0][:, :, at], cache[1][:, :, at] = k[:, :, 0], v[:, :, 0]
            k, v = (x[:, :, : at + 1] for x in cache)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        h = h + self.out(a.transpose(1, 2).flatten(2))
        return h + self.mlp_out(F.gelu(self.mlp_in(self.norm2(h))))


class TorchGPT(torch.nn.Module):
    def __init__(self, c: image_gpt.Config):
        super().__init__()
        d = c.width
        self.size, self.width, self.n_heads = c.size, d, c.n_heads
        self.token = torch.nn.ModuleList(torch.nn.Embedding(c.levels + 1, d) for _ in range(4))
        self.row, self.column = torch.nn.Embedding(c.size, d), torch.nn.Embedding(c.size, d)
        self.blocks = torch.nn.ModuleList(TorchBlock(d, c.n_heads) for _ in range(c.layers))
        self.norm, self.head = torch.nn.LayerNorm(d), torch.nn.Linear(d, c.levels)
        self.register_buffer("palette", torch.zeros(c.levels, c.channels))

    def forward(self, context: torch.Tensor, caches: Any = None, at: int = 0) -> torch.Tensor:
        where = torch.arange(self.size**2) if caches is None else torch.tensor([at])
        h = self.row(where // self.size) + self.column(where % self.size)
        h = h + sum(table(context[..., i]) for i, table in enumerate(self.token))
        for i, block in enumerate(self.blocks):
            h = block(h, None if caches is None else caches[i], at)
        return self.head(self.norm(h))


@torch.inference_mode()
def sample(model: TorchGPT, n: int, levels: int, told: Any, draws: torch.Generator) -> Any:
    """Tokens (n, size, size), one after another, with keys and values in preallocated arrays.

    told: where in the flat image stands what each pixel is told, (T, 4); T: beyond the edge.
    """
    size, d, heads = model.size, model.width, model.n_heads
    shape = (n, heads, size * size, d // heads)
    caches = [(torch.empty(shape), torch.empty(shape)) for _ in model.blocks]
    tokens = torch.full((n, size * size + 1), levels)
    for t in range(size * size):
        p = F.softmax(model(tokens[:, told[t : t + 1]], caches, t)[:, -1], -1)
        tokens[:, t] = torch.multinomial(p, 1, generator=draws)[:, 0]
    return tokens[:, :-1].reshape(n, size, size).numpy()


class TorchViT(torch.nn.Module):
    """Patches of 4×4 pixels as tokens, a token for the class before them, and the encoder."""

    def __init__(self, width: int, layers: int, tokens: int):
        super().__init__()
        self.patch = torch.nn.Conv2d(1, width, 4, 4)
        self.first = torch.nn.Parameter(torch.zeros(1, 1, width))
        self.position = torch.nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(
                width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.head = torch.nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.first.expand(len(x), -1, -1), h], 1) + self.position
        for block in self.blocks:
            h = block(h)
        return self.head(h[:, 0])
