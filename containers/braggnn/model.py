"""The network: the published BraggNN architecture (fc 16-8-4-2, patch 11), rebuilt from its description. Needs torch.

Liu et al., IUCrJ 9, 104, 2022, doi 10.1107/S2052252521011258. 33,172 parameters, 2,094,252 multiply-adds a patch.

Two ways to compute the same function of the same parameters
  forward   as published: 3x3 convolution, non-local block (Wang et al., CVPR 2018), two convolutions, dense layers
  folded    for training. Nothing non-linear stands between the input and the attention scores, so with X the [81, 10]
            matrix of 3 x 3 neighbourhoods and a one, theta = X A and phi = X B give scores X (A B^T) X^T, and the
            block's output is (softmax(scores) X)(G O) + X W1: 10 columns instead of 32. 1.21 instead of 2.09 million
            multiply-adds, and X needs no gradient. Equal to float32 rounding; `python train.py --check` shows it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

PATCH = 11
CHANNELS = 64
INNER = 32
PLACES = 81  # 9 x 9 positions after the first convolution
SLOPE = 0.01


class BraggNN(nn.Module):
    """Patch f4 [B, 1, 11, 11], min-max scaled, to centre (x, y) / 11, f4 [B, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, CHANNELS, 3)
        self.theta = nn.Conv2d(CHANNELS, INNER, 1)
        self.phi = nn.Conv2d(CHANNELS, INNER, 1)
        self.g = nn.Conv2d(CHANNELS, INNER, 1)
        self.out = nn.Conv2d(INNER, CHANNELS, 1)
        self.conv2 = nn.Conv2d(CHANNELS, 32, 3)
        self.conv3 = nn.Conv2d(32, 8, 3)
        sizes = (200, 16, 8, 4, 2)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            # The dense layers narrow to two units: started below zero, one would learn at a hundredth of the rate.
            for layer in self.dense:
                layer.bias.fill_(0.5)
            self.last.weight.copy_(torch.tensor([[0.5, -0.3], [0.3, 0.5]]))
            # The mean answer, half a patch, is right from the first step.
            self.last.bias.copy_(torch.full((2,), 0.45) - self.last.weight.sum(1) * 0.5)

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        x = self.conv1(patch)
        theta, phi, g = (f(x).flatten(2) for f in (self.theta, self.phi, self.g))
        attention = (theta.transpose(1, 2) @ phi).softmax(-1)
        y = (attention @ g.transpose(1, 2)).transpose(1, 2).unflatten(2, (9, 9))
        return self._head(self.out(y) + x)

    def folded(self, patch: torch.Tensor) -> torch.Tensor:
        x = neighbourhoods(patch)
        first = torch.cat([self.conv1.weight.flatten(1), self.conv1.bias[:, None]], 1).T  # [10, 64]
        a, b, g = (self._through(first, f) for f in (self.theta, self.phi, self.g))
        attention = ((x @ (a @ b.T)) @ x.transpose(1, 2)).softmax(-1)
        y = (attention @ x) @ self._through(g, self.out) + x @ first
        return self._head(y.transpose(1, 2).unflatten(2, (9, 9)))

    @staticmethod
    def _through(rows: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
        """A 1 x 1 convolution applied to an affine map whose last row is its constant."""
        one = torch.zeros(rows.shape[0], 1)
        one[-1] = 1
        return rows @ layer.weight.flatten(1).T + one * layer.bias

    def _head(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(x, SLOPE)
        x = F.leaky_relu(self.conv2(x), SLOPE)
        x = F.leaky_relu(self.conv3(x), SLOPE).flatten(1)
        for layer in self.dense:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.last(x)


def neighbourhoods(patch: torch.Tensor) -> torch.Tensor:
    """X: the 3 x 3 neighbourhood of each of the 81 places and a one, [B, 81, 10]."""
    x = F.unfold(patch, 3).transpose(1, 2)
    return torch.cat([x, torch.ones_like(x[:, :, :1])], 2)


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def count_macs() -> int:
    """Multiply-adds of one patch in the published form."""
    conv1 = PLACES * CHANNELS * 9
    projections = 3 * PLACES * CHANNELS * INNER + PLACES * INNER * CHANNELS
    attention = 2 * PLACES * PLACES * INNER
    tail = 49 * 32 * CHANNELS * 9 + 25 * 8 * 32 * 9
    sizes = (200, 16, 8, 4, 2, 2)
    return conv1 + projections + attention + tail + sum(a * b for a, b in zip(sizes, sizes[1:]))
