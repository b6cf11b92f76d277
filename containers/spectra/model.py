"""The network: four strided convolutions over the square root of a scaled spectrum, and two dense layers. Needs torch.

The square root makes the scatter of counts equal in all channels (Anscombe, Biometrika 35, 246, 1948), so that weak lines
are not drowned by the noise of strong ones; it is part of the graph, so a runner needs no step for it.
"""

from __future__ import annotations

import torch
from torch import nn

CHANNELS = 512
# (in, out, kernel); every convolution halves the length: 512, 256, 128, 64, 32.
CONVS = ((1, 16, 9), (16, 24, 7), (24, 32, 5), (32, 24, 5))
HIDDEN = 32


class SpectrumNet(nn.Module):
    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(i, o, k, stride=2, padding=k // 2) for i, o, k in CONVS)
        self.hidden = nn.Linear(CONVS[-1][1] * CHANNELS // 2 ** len(CONVS), HIDDEN)
        self.last = nn.Linear(HIDDEN, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; the exported graph ends with their softmax."""
        x = x.sqrt()
        for conv in self.convs:
            x = conv(x).relu()
        return self.last(self.hidden(x.flatten(1)).relu())


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
