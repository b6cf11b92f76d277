"""Scores the model beside the customary method, on fresh simulation. Needs numpy, h5py, onnxruntime.

  python score.py --model ../../models/spectra/model.onnx --validation ../../models/spectra/validation.h5

The customary method is a weighted linear least-squares fit of line shapes and a continuum at the nominal calibration; the
element with the largest K alpha amplitude is its answer. It knows the shapes, the model had to learn them; it does not
know the drift of gain and resolution, which the model has seen.
"""

from __future__ import annotations

import argparse

import h5py
import numpy as np
import onnxruntime

import simulate

EDGES = (0, 300, 1000, 3000, np.inf)


def shapes() -> np.ndarray:
    """One column an element (K alpha of area 1, its K beta), then three of the continuum: [512, 11 + 3]."""
    energy = simulate.START + (np.arange(simulate.CHANNELS) + 0.5) * simulate.WIDTH
    columns = []
    for name in (*simulate.CLASSES, *simulate.NUISANCE):
        column = np.zeros(simulate.CHANNELS)
        for centre, part in zip(simulate.LINES[name], (1.0, 0.14)):
            sigma = np.sqrt(0.04**2 + 0.115 * 3.65e-3 * centre)
            transmission = np.exp(-12.5 / centre**3)
            column += part * transmission * np.exp(-0.5 * ((energy - centre) / sigma) ** 2) / sigma
        columns.append(column)
    return np.stack([*columns, np.exp(-12.5 / energy**3) / energy, 1 / energy**2, np.ones_like(energy)], 1)


def least_squares(counts: np.ndarray) -> np.ndarray:
    """The fitted amplitude of each class, [n, 6]."""
    a = shapes()
    out = np.empty((len(counts), len(simulate.CLASSES)))
    for row, y in enumerate(counts.astype(np.float64)):
        # Smoothed counts as variances: the raw ones would favour channels that happened to be low.
        weight = 1 / np.sqrt(np.convolve(y, np.full(9, 1 / 9), "same") + 0.5)
        out[row] = np.linalg.lstsq(a * weight[:, None], y * weight, rcond=None)[0][: len(simulate.CLASSES)]
    return out


def show(name: str, counts: np.ndarray, label: np.ndarray, amounts: np.ndarray, session) -> None:
    p = session.run(["probability"], {"spectrum": simulate.minmax(counts)[:, None]})[0]
    right = p.argmax(1) == label
    fit = least_squares(counts).argmax(1) == label
    loss = -np.log(np.maximum(p[np.arange(len(p)), label], 1e-7))
    top = np.sort(amounts, 1)
    clear = top[:, -2] < 0.8 * top[:, -1]
    total = counts.sum(1)
    print(f"{name}: {len(p)} spectra; accuracy {right.mean():.4f}, log loss {loss.mean():.4f}; fit {fit.mean():.4f}")
    print(f"  runner-up below 0.8 of the main element ({clear.sum()}): {right[clear].mean():.4f}; fit {fit[clear].mean():.4f}")
    for low, high in zip(EDGES, EDGES[1:]):
        rows = (total >= low) & (total < high)
        if rows.any():
            print(f"  {low:>5} to {high:>5} counts ({rows.sum()}): {right[rows].mean():.4f}; fit {fit[rows].mean():.4f}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True)
    p.add_argument("--validation", required=True)
    p.add_argument("--rows", type=int, default=1_000, help="rows of each scenario")
    a = p.parse_args()
    session = onnxruntime.InferenceSession(a.model, providers=["CPUExecutionProvider"])
    with h5py.File(a.validation) as h5:
        show("validation", h5["spectra"][:], h5["label"][:], h5["amounts"][:], session)
    for i, (name, domain) in enumerate(simulate.SCENARIOS.items()):
        made = simulate.spectra(a.rows, np.random.default_rng(40_000 + i), domain)
        show(name, made.counts, made.label, made.amounts, session)


if __name__ == "__main__":
    main()
