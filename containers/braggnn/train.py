"""Trains the network on fresh simulation throughout. Needs torch, numpy.

Recipe: true centres as targets; loss the mean Euclidean distance in px; AdamW with warm-up and cosine, gradient norm
bounded; the 8 symmetries; crops on the brightest pixel +- 1; a quarter C3, three quarters domain randomisation.
No row is seen twice, so there is no epoch and no over-fitting to early-stop: the last weights are the result.

Invariants
  1. Rows come from (seed, chunk number) alone: the same seed and the same number of steps give the same rows.
  2. With --minutes the schedule follows the clock instead of the step, for a machine that others share. Progress and
     rate are in the log, so `--steps N` with the N of the log repeats the run closely, not bit for bit.
  3. The figures in the log are of rows that no step has seen: their chunks have numbers that training never reaches.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing as mp
import os
import time

import numpy as np
import torch

import simulate
from model import BraggNN, count_macs, count_parameters

CHUNK = 16_384
HELD_OUT = 1 << 40  # chunk numbers from here on are never trained on


def rows_of(seed: int, chunk: int, c3_share: float) -> tuple[np.ndarray, np.ndarray]:
    return simulate.training_rows(CHUNK, np.random.default_rng([seed, chunk]), c3_share)


def feed(seed: int, c3_share: float, chunk: int, queue) -> None:
    """The simulating process: keeps a few chunks ahead of the training one, until it is ended."""
    os.nice(1)
    while True:
        queue.put(rows_of(seed, chunk, c3_share))
        chunk += 1


def batches(queue, size: int):
    while True:
        patches, xy = (torch.from_numpy(a) for a in queue.get())
        for at in range(0, CHUNK, size):
            yield patches[at : at + size, None], xy[at : at + size]


def distances(net: BraggNN, patches: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(net.folded(patches) * 11 - xy, dim=1)


def held_out(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng([seed, HELD_OUT])
    sets = {"c3": simulate.c3_centred(4096, rng), "broad": simulate.broad(4096, rng)}
    return {
        name: (torch.from_numpy(simulate.minmax(p.patches))[:, None], torch.from_numpy(p.true_xy))
        for name, p in sets.items()
    }


def measure(net: BraggNN, sets) -> dict[str, float]:
    out: dict[str, float] = {}
    with torch.no_grad():
        for name, (patches, xy) in sets.items():
            e = torch.cat([distances(net, p, t) for p, t in zip(patches.split(512), xy.split(512))])
            out[f"{name}_mean_px"] = round(e.mean().item(), 5)
            out[f"{name}_p95_px"] = round(e.quantile(0.95).item(), 5)
    return out


def check(net: BraggNN) -> None:
    """The published and the folded form are one function, and the size is the published one."""
    assert count_parameters(net) == 33_172 and count_macs() == 2_094_252, (count_parameters(net), count_macs())
    patches = torch.rand(64, 1, 11, 11)
    with torch.no_grad():
        apart = (net(patches) - net.folded(patches)).abs().max().item() * 11
    assert apart < 1e-4, f"published and folded form differ by {apart} px"
    print(json.dumps({"parameters": count_parameters(net), "macs": count_macs(), "folded_apart_px": apart}))


def rate_at(progress: float, peak: float, warm: float) -> float:
    if progress < warm:
        return peak * (progress + 1e-4) / warm
    return peak * (0.002 + 0.998 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))))


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=14_400)
    p.add_argument("--minutes", type=float, help="schedule by the clock instead of by steps")
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=3e-3)
    p.add_argument("--warm", type=float, default=0.03, help="part of the run in which the rate rises")
    p.add_argument("--c3-share", type=float, default=0.25)
    # One: the two halves of a batch this small wait for one another longer than they compute when others share the cores.
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--resume", help="checkpoint to go on from; --minutes are then those of the rest")
    p.add_argument("--out", default="braggnn.pt")
    p.add_argument("--log", default="training.jsonl")
    p.add_argument("--check", action="store_true", help="check the architecture and stop")
    return p.parse_args()


def main() -> None:
    a = parse()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    net = BraggNN()
    check(net)
    if a.check:
        return
    saved = torch.load(a.resume, weights_only=True) if a.resume else None
    done = 0
    if saved is not None:
        net.load_state_dict(saved["state"])
        done = saved["step"] * a.batch // CHUNK + 1  # the chunk that was begun is not seen again
    context = mp.get_context("spawn")  # fork after torch has made threads can hang
    queue = context.Queue(4)
    feeder = context.Process(target=feed, args=(a.seed, a.c3_share, done, queue), daemon=True)
    feeder.start()
    try:
        train(net, a, batches(queue, a.batch), saved)
    finally:
        feeder.terminate()


def train(net: BraggNN, a: argparse.Namespace, rows, saved) -> None:
    sets = held_out(a.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.rate, weight_decay=1e-4, betas=(0.9, 0.98))
    first = 0.0
    if saved is not None:
        first = saved["progress"]
        # Without them the moments are those of a fresh start: they are right again after some hundred steps.
        if "optimizer" in saved:
            optimizer.load_state_dict(saved["optimizer"])
    with open(a.log, "w" if saved is None else "a") as log:
        write = lambda record: (log.write(json.dumps(record) + "\n"), log.flush())
        write({"event": "start" if saved is None else "resume", **vars(a), "torch": torch.__version__, "numpy": np.__version__})
        start, step, progress, recent = time.monotonic(), 0 if saved is None else saved["step"], first, []
        while progress < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(progress, a.rate, a.warm)
            patches, xy = next(rows)
            loss = distances(net, patches, xy).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            recent.append(loss.item())
            step += 1
            seconds = time.monotonic() - start
            progress = first + (1 - first) * seconds / (60 * a.minutes) if a.minutes else step / a.steps
            if step % 200 == 0 or progress >= 1:
                figures = measure(net, sets) if step % 400 == 0 or progress >= 1 else {}
                write(
                    {
                        "event": "step",
                        "step": step,
                        "seconds": round(seconds, 1),
                        "progress": round(progress, 4),
                        "rate": optimizer.param_groups[0]["lr"],
                        "loss_px": round(float(np.mean(recent)), 5),
                        **figures,
                    }
                )
                recent.clear()
                kept = {"state": net.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}
                torch.save({**kept, "step": step, "options": vars(a)}, a.out)
        write({"event": "end", "step": step, "seconds": round(time.monotonic() - start, 1)})


if __name__ == "__main__":
    main()
