"""Scores a model against truth, by groups of lit pixels, beside the centre of mass and the brightest pixel.
Needs numpy, h5py, onnxruntime.

  python score.py --model ../../models/braggnn/model.onnx --validation ../../models/braggnn/validation.h5 \
                  [--real ruby-ff1-patches.h5] [--json]

Sets
  c3_true, c3_noisy   the simulated validation set, against the true centres and against its fit-like labels
  broad               10,000 domain-randomised peaks of the kinds trained on, other rows: widths, tails, thresholds,
                      noise, gains, pedestals far from C3's
  real_determined     real peaks with at least 12 lit pixels: more pixels than the fit that made the label has
                      parameters. Labels of smaller peaks are not truth: the fit is free there and often leaves the
                      lit side of the peak
  real_weakened       bright real peaks (>= 30 lit pixels, maximum >= 12 thresholds) scaled down to a maximum of 1.3
                      to 8 thresholds, six draws each with photon and read noise, thresholded again; truth is the fit
                      of the bright peak

Invariants
  1. A model sees what a user's patch would be turned into: component of the brightest pixel, min-max scaled, float32.
  2. The real peaks are never trained on. Draws are seeded: two runs print the same figures.
"""

from __future__ import annotations

import argparse
import json

import h5py
import numpy as np
import onnxruntime

import simulate

GROUPS = ((3, 5), (6, 11), (12, 24), (25, 121))
PERCENTILES = (50, 75, 95, 99.5)
DRAWS = 6
WEAKENING_SEED = 7
BROAD_SEED = 10_000


def centre_of_mass(patches: np.ndarray) -> np.ndarray:
    p = patches.astype(np.float64)
    k = np.arange(p.shape[1])
    total = p.sum((1, 2))
    return np.stack([(p.sum(1) * k).sum(1) / total, (p.sum(2) * k).sum(1) / total], 1)


def brightest_pixel(patches: np.ndarray) -> np.ndarray:
    row, col = simulate.brightest(patches)
    return np.stack([col, row], 1).astype(np.float64)


def open_model(path: str):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(patches: np.ndarray) -> np.ndarray:
        scaled = simulate.minmax(patches)[:, None]
        parts = [session.run(["center"], {"patch": scaled[i : i + 128]})[0] for i in range(0, len(scaled), 128)]
        return np.concatenate(parts) * np.float32(11)

    return predict


def weaken(patches: np.ndarray, xy: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(WEAKENING_SEED)
    bright = ((patches > 0).sum((1, 2)) >= 30) & (patches.max((1, 2)) >= 12 * threshold)
    p = np.repeat(patches[bright], DRAWS, 0).astype(np.float64)
    truth = np.repeat(xy[bright], DRAWS, 0).astype(np.float64)
    top = threshold * np.exp(rng.uniform(np.log(1.3), np.log(8), len(p)))
    ideal = p * (top / p.max((1, 2)))[:, None, None]
    counts = 5 * rng.poisson(ideal / 5) + rng.normal(0, 0.12 * threshold, p.shape)
    counts[counts < threshold] = 0
    lit = counts.max((1, 2)) > 0
    counts, truth = counts[lit], truth[lit]
    row, col = simulate.brightest(counts)
    kept = simulate.keep_component(counts, row, col)
    # Recentred: the brightest pixel goes to (5, 5), what comes in from outside is dark.
    padded = np.pad(kept, ((0, 0), (simulate.HALF,) * 2, (simulate.HALF,) * 2))
    moved = simulate.crop(padded, row, col)
    truth = truth + simulate.HALF - np.stack([col, row], 1)
    enough = (moved > 0).sum((1, 2)) >= 3
    return moved[enough].astype(np.float32), truth[enough]


def summary(apart: np.ndarray) -> dict[str, float]:
    """Figures of the distances answer - truth; bias is the mean distance per axis."""
    if len(apart) == 0:
        return {"n": 0}
    error = np.hypot(apart[:, 0], apart[:, 1])
    figures = {"mean": error.mean(), "std": error.std(ddof=1)}
    figures |= {f"p{p}": q for p, q in zip(PERCENTILES, np.percentile(error, PERCENTILES))}
    figures |= {"biasX": apart[:, 0].mean(), "biasY": apart[:, 1].mean()}
    return {"n": len(error), **{k: round(float(v), 4) for k, v in figures.items()}}


def group_name(low: int, high: int) -> str:
    return f"{low}-{high}" if high < 121 else f"{low}+"


def sets_of(validation: str, real: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with h5py.File(validation) as h5:
        patches = h5["patches"][:]
        sets = {"c3_true": (patches, h5["true_xy"][:]), "c3_noisy": (patches, h5["peak_xy"][:])}
    other = simulate.broad(10_000, np.random.default_rng(BROAD_SEED))
    sets["broad"] = other.patches, other.true_xy
    if real is not None:
        with h5py.File(real) as h5:
            patches, xy = h5["patches"][:], h5["peak_xy"][:]
        determined = (patches > 0).sum((1, 2)) >= 12
        sets["real_determined"] = patches[determined], xy[determined]
        sets["real_weakened"] = weaken(patches, xy, float(patches[patches > 0].min()))
    return sets


def score(predict, patches: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    patches = simulate.clean(patches)
    lit = (patches > 0).sum((1, 2))
    out = {}
    for name, method in (("model", predict), ("centreOfMass", centre_of_mass), ("brightestPixel", brightest_pixel)):
        apart = method(patches) - truth
        table = {"all": summary(apart)}
        for low, high in GROUPS:
            table[group_name(low, high)] = summary(apart[(lit >= low) & (lit <= high)])
        out[name] = table
    return out


SHOWN = ("mean", "std", "p50", "p75", "p95", "p99.5", "biasX", "biasY")


def show(name: str, result) -> None:
    print(f"\n{name}\n  {'method':<16}{'lit':<8}{'n':>7}" + "".join(f"{k:>8}" for k in SHOWN))
    for method, table in result.items():
        for group, row in table.items():
            if row["n"]:
                print(f"  {method:<16}{group:<8}{row['n']:>7}" + "".join(f"{row[k]:8.4f}" for k in SHOWN))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True)
    p.add_argument("--validation", required=True)
    p.add_argument("--real", help="labelled real patches: /patches, /peak_xy")
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    a = p.parse_args()
    predict = open_model(a.model)
    results = {name: score(predict, *rows) for name, rows in sets_of(a.validation, a.real).items()}
    if a.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        show(name, result)


if __name__ == "__main__":
    main()
