"""How near a model comes to what the simulated counts allow: its RMS error over the Cramer-Rao limit, by lit pixels.
Needs numpy, onnxruntime; --out also h5py. With --out the limit of each row of validation.h5 is kept, for scoring without
Python.

  python limit.py --model ../../models/braggnn/model.onnx
  python limit.py --model ../../models/braggnn/model.onnx --out ../../models/braggnn/validation-limit.h5

The limit of a row is sqrt(trace C) px, C the x, y block of the inverse Fisher information of seven unknowns: x, y,
height, two widths, eta, background. A pixel of expected counts m and variance v = 5 m + 20^2 that is lost below the
threshold T informs about m as a censored Gaussian does, with z = (T - m) / sqrt(v), pdf f and cdf F:

  i(m) = (1 - F + z f + f^2 / F) / v

What it leaves out, so that nobody reads more into it: the variance's own dependence on m; the rounding; that min-max
scaling hides the absolute counts. Widths, eta and background enter with the information of their range (12 / range^2),
as a network learns it; the position has no prior, so among the weakest peaks a ratio below 1 is possible for an
estimator that is drawn to the brightest pixel.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

import simulate
from dataset import ROWS, SEED, describe, put, write
from score import GROUPS, centre_of_mass, group_name, open_model

STEP = 1e-4  # of the central differences: px and relative counts; float64 leaves 1e-7 of the derivative
SIZE = simulate.PATCH


def expected(p: np.ndarray) -> np.ndarray:
    """Counts of rows (x, y, height, sigma x, sigma y, eta, background)."""
    shape = simulate.c3_shape(SIZE, p[:, :2], p[:, 3:5], p[:, 5])
    return p[:, 2, None, None] * shape + p[:, 6, None, None]


def information_of_pixels(mean: np.ndarray) -> np.ndarray:
    variance = simulate.GAIN * mean + simulate.READ_NOISE**2
    z = (simulate.THRESHOLD - mean) / np.sqrt(variance)
    # Beyond 8 sigma the pixel is always kept, or never: the limits of the formula are 1 and 0.
    z = np.clip(z, -8, 8)
    below = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2)))
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return np.maximum(1 - below + z * density + density**2 / np.maximum(below, 1e-300), 0) / variance


def limits(peaks: simulate.Peaks) -> np.ndarray:
    """sqrt(trace C) of each row, px."""
    p = np.column_stack([peaks.true_xy.astype(np.float64), peaks.hidden])
    weight = information_of_pixels(expected(p)).reshape(len(p), -1)
    slopes = []
    for k in range(7):
        step = np.where(k in (2, 6), STEP * p[:, 2], STEP)
        move = np.zeros_like(p)
        move[:, k] = step
        slopes.append(((expected(p + move) - expected(p - move)) / (2 * step[:, None, None])).reshape(len(p), -1))
    j = np.stack(slopes, 2)
    fisher = np.einsum("npi,np,npj->nij", j, weight, j)
    spans = (simulate.SIGMA[1] - simulate.SIGMA[0],) * 2 + (simulate.ETA_MAX, simulate.BACKGROUND_MAX)
    for k, span in zip((3, 4, 5, 6), spans):
        fisher[:, k, k] += 12 / span**2
    covariance = np.linalg.inv(fisher)
    return np.sqrt(covariance[:, 0, 0] + covariance[:, 1, 1])


def keep(path: str, bound: np.ndarray) -> None:
    def fill(h5) -> None:
        describe(h5, "Cramer-Rao limits of the rows of validation.h5", SEED)
        h5.attrs["script"] = "containers/braggnn/limit.py"
        put(
            h5,
            "limit",
            bound.astype(np.float32),
            units="px",
            meaning="the smallest RMS distance from the true centre that an unbiased estimate can have, row by row",
        )

    write(path, fill)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True)
    p.add_argument("--rows", type=int, default=ROWS)
    p.add_argument("--json", action="store_true")
    p.add_argument("--out", help="write the limit of each row here")
    a = p.parse_args()
    peaks = simulate.c3(a.rows, np.random.default_rng(SEED))
    bound = limits(peaks)
    if a.out is not None:
        keep(a.out, bound)
    lit = (peaks.patches > 0).sum((1, 2))
    rms = lambda e: float(np.sqrt(np.mean(e * e)))
    out = {}
    for low, high in (*GROUPS, (1, 121)):
        rows = (lit >= low) & (lit <= high)
        entry = {"n": int(rows.sum()), "limitRms": round(rms(bound[rows]), 4)}
        for name, method in (("model", open_model(a.model)), ("centreOfMass", centre_of_mass)):
            error = np.linalg.norm(method(peaks.patches[rows]) - peaks.true_xy[rows], axis=1)
            entry[name] = {"rms": round(rms(error), 4), "ratio": round(rms(error) / rms(bound[rows]), 3)}
        out["all" if low == 1 else group_name(low, high)] = entry
    if a.json:
        print(json.dumps(out))
        return
    print(f"{'lit':<8}{'n':>7}{'limit':>9}{'model':>9}{'ratio':>8}{'mass':>9}{'ratio':>8}   (RMS, px)")
    for group, e in out.items():
        m, c = e["model"], e["centreOfMass"]
        print(
            f"{group:<8}{e['n']:>7}{e['limitRms']:>9.4f}{m['rms']:>9.4f}{m['ratio']:>8.2f}{c['rms']:>9.4f}{c['ratio']:>8.2f}"
        )


if __name__ == "__main__":
    main()
