"""Decoder network of the bundled models: Llama-like blocks in the exact form of llama.cpp's `qwen2` architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .text import CONTEXT_LENGTH

ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder. `width` is the model dimension, `hidden` the inner one of the feed-forward part."""

    layers: int
    width: int
    heads: int
    hidden: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Block(nn.Module):
    """One layer: RMSNorm, causal attention with rotary positions, RMSNorm, SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, h = shape.width, shape.hidden
        self.heads, self.head_dim = shape.heads, shape.head_dim
        self.attention_norm = nn.RMSNorm(d, NORM_EPSILON)
        self.query = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.feed_norm = nn.RMSNorm(d, NORM_EPSILON)
        self.gate = nn.Linear(d, h, bias=False)
        self.up = nn.Linear(d, h, bias=False)
        self.down = nn.Linear(h, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the layer's output [batch, time, width]; a cache makes `x` a continuation."""
        x = x + self._attend(self.attention_norm(x), cos, sin, cache)
        y = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        batch, time, width = x.shape
        parts = (batch, time, self.heads, self.head_dim)
        q = _rotate(self.query(x).view(parts).transpose(1, 2), cos, sin)
        k = _rotate(self.key(x).view(parts).transpose(1, 2), cos, sin)
        v = self.value(x).view(parts).transpose(1, 2)
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v = cache.extend(self, k, v)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=cache.mask(time))
        return self.output(y.transpose(1, 2).reshape(batch, time, width))


class Cache:
    """Keys and values of earlier positions, for left-padded batches that decode in step."""

    def __init__(self, padding: Tensor) -> None:
        """`padding` [batch] counts the pad tokens at the start of each row."""
        self.padding = padding
        self.length = 0
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, block: Block, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append this layer's new keys and values and return all of them."""
        if id(block) in self._kept:
            old_k, old_v = self._kept[id(block)]
            k, v = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        self._kept[id(block)] = (k, v)
        return k, v

    def mask(self, time: int) -> Tensor:
        """Return which keys each of `time` new positions may see: [batch, 1, time, all]."""
        keys = torch.arange(self.length + time)
        queries = torch.arange(self.length, self.length + time)
        causal = keys[None, :] <= queries[:, None]
        real = keys[None, :] >= self.padding[:, None]
        own = keys[None, :] == queries[:, None]
        return ((causal[None] & real[:, None, :]) | own[None])[:, None]

    def positions(self, time: int) -> Tensor:
        """Return the rotary positions of `time` new tokens: [batch, time]."""
        return (torch.arange(self.length, self.length + time)[None] - self.padding[:, None]).clamp(min=0)


class Decoder(nn.Module):
    """Embedding, blocks, final norm and an untied output matrix."""

    def __init__(self, shape: Shape, vocabulary: int, context: int = CONTEXT_LENGTH) -> None:
        super().__init__()
        self.shape, self.context = shape, context
        self.embedding = nn.Embedding(vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, NORM_EPSILON)
        self.head = nn.Linear(shape.width, vocabulary, bias=False)
        cos, sin = _rotary_tables(shape.head_dim, context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the normed final states [batch, time, width] of right-padded rows `tokens` [batch, time]."""
        time = tokens.shape[1]
        cos, sin = cast(Tensor, self.cos)[:time], cast(Tensor, self.sin)[:time]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def continue_from(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Return the logits [batch, vocabulary] after `tokens` [batch, time], which extend `cache`."""
        positions = cache.positions(tokens.shape[1])
        cos, sin = cast(Tensor, self.cos)[positions][:, None], cast(Tensor, self.sin)[positions][:, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, cache)
        cache.length += tokens.shape[1]
        return self.head(self.norm(x[:, -1]))

    def parameter_count(self) -> int:
        """Return the number of trained numbers."""
        return sum(p.numel() for p in self.parameters())

    def _initialise(self) -> None:
        generator = torch.Generator().manual_seed(self.shape.width)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                scale = 0.5 if name.endswith(("output.weight", "down.weight")) else 1.0
                deviation = 0.05 if name.startswith(("embedding", "head")) else scale * p.shape[1] ** -0.5
                nn.init.normal_(p, 0.0, deviation, generator=generator)


def _rotary_tables(head_dim: int, context: int) -> tuple[Tensor, Tensor]:
    frequencies = ROPE_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    angles = torch.cat([angles, angles], 1)
    return angles.cos().float(), angles.sin().float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], -1) * sin.to(x.dtype)
