"""Trains the network on fresh simulation throughout. Needs torch, numpy.

Recipe: cross entropy against the true main element, AdamW with warm-up and cosine, gradient norm bounded, batch 256.
No spectrum is seen twice, so there is no epoch and nothing to stop early for: the last weights are the result.

Invariants
  1. Rows come from (seed, chunk number) alone, and the schedule from the step: the same options give the same run.
  2. The figures in the log are of rows that no step has seen: their chunk has a number that training never reaches.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import simulate
from model import SpectrumNet, count_parameters

CHUNK = 4096
HELD_OUT = 1 << 40


def rows_of(seed: int, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = simulate.spectra(CHUNK, np.random.default_rng([seed, chunk]))
    return torch.from_numpy(simulate.minmax(made.counts))[:, None], torch.from_numpy(made.label).long()


def batches(seed: int, size: int):
    chunk = 0
    while True:
        x, label = rows_of(seed, chunk)
        chunk += 1
        for at in range(0, CHUNK, size):
            yield x[at : at + size], label[at : at + size]


def measure(net: SpectrumNet, x: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    with torch.no_grad():
        logits = torch.cat([net(part) for part in x.split(512)])
    return {
        "held_out_accuracy": round((logits.argmax(1) == label).double().mean().item(), 5),
        "held_out_log_loss": round(cross_entropy(logits, label).item(), 5),
    }


def rate_at(progress: float, peak: float, warm: float) -> float:
    if progress < warm:
        return peak * (progress + 1e-4) / warm
    return peak * (0.002 + 0.998 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=3e-3)
    p.add_argument("--warm", type=float, default=0.03, help="part of the run in which the rate rises")
    p.add_argument("--out", default="spectra.pt")
    p.add_argument("--log", default="training.jsonl")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    net = SpectrumNet(len(simulate.CLASSES))
    x, label = rows_of(a.seed, HELD_OUT)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.rate, weight_decay=1e-4, betas=(0.9, 0.98))
    rows = batches(a.seed, a.batch)
    start, recent = time.monotonic(), []
    with open(a.log, "w") as log:
        write = lambda record: (log.write(json.dumps(record) + "\n"), log.flush())
        options = {k: v for k, v in vars(a).items() if k not in ("out", "log")}
        write(
            {
                "event": "start",
                **options,
                "parameters": count_parameters(net),
                "torch": torch.__version__,
                "numpy": np.__version__,
            }
        )
        for step in range(1, a.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step / a.steps, a.rate, a.warm)
            spectra, labels = next(rows)
            loss = cross_entropy(net(spectra), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            recent.append(loss.item())
            if step % 250 == 0 or step == a.steps:
                write(
                    {
                        "event": "step",
                        "step": step,
                        "seconds": round(time.monotonic() - start, 1),
                        "log_loss": round(float(np.mean(recent)), 5),
                        **measure(net, x, label),
                    }
                )
                recent.clear()
                torch.save({"state": net.state_dict(), "step": step, "options": options}, a.out)


if __name__ == "__main__":
    main()
