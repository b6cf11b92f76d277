"""Error calibration in numpy: radii, p-values, drift and coverage limits, as the runner computes them.

For whoever has predictions and a calibration.json at hand and no runner, and as a second opinion on the first: shared vectors
(test/vectors/uncertainty.json) hold the two equal. A radius says how far a prediction may be from its label; what the label is
(the truth, or what a fit said) stands in ``calibration["labels"]``.

Formulas
  conformal   k = ceil((n + 1) level), radius = k-th smallest score (Papadopoulos et al., ECML 2002); infinite where k > n
  coverage    of m new rows: beta-binomial(m, k, n + 1 - k) (Vovk 2012)
  p-value     (1 + #{reference >= value}) / (n + 1), of the squared Mahalanobis distance of a row's features
  PSI         sum (b - a) ln(b / a), less (B - 1)(1/n + 1/m); W1 over sigma, less its mean under no drift
"""

from __future__ import annotations

import json
import math

import numpy as np

LEVELS = (0.9, 0.95)
PSI_PARTS = 10


def load_calibration(path):
    """A calibration.json as a dictionary; raises ValueError where it is none of this version."""
    with open(path, encoding="utf-8") as file:
        calibration = json.load(file)
    if not isinstance(calibration, dict) or calibration.get("v") != 1:
        raise ValueError(f"{path}: not an error calibration of version 1")
    return calibration


def conformal_rank(n, level):
    """k of a level; n + 1 where n rows are too few for it."""
    return math.ceil((n + 1) * level - 1e-9)


def value_of_rank(sketch, rank):
    """The order statistic, or the next larger one that was kept: never too small. Infinite beyond the last."""
    at = int(np.searchsorted(sketch["ranks"], rank, side="left"))
    return math.inf if at == len(sketch["ranks"]) else float(sketch["values"][at])


def p_values(sketch, values):
    """Conformal p-values; NaN for what is not a number."""
    values = np.asarray(values, float)
    at = np.searchsorted(sketch["values"], values, side="left")
    below = np.concatenate([[0], sketch["ranks"]])[at]
    p = (1 + sketch["n"] - below) / (sketch["n"] + 1)
    return np.where(np.isnan(values), np.nan, p)


def groups_of(edges, features):
    """Index of the group whose lower edge is the last at or below each value; -1 below the first."""
    return np.searchsorted(np.asarray(edges, float), np.asarray(features, float), side="right") - 1


def radii(calibration, features=None, level=0.95):
    """The radius of each row by its group's feature (lit pixels, say); one number where the model has no groups."""
    groups = calibration.get("groups")
    of = lambda sketch: value_of_rank(sketch, conformal_rank(sketch["n"], level))
    if groups is None:
        return of(calibration["scores"])
    if features is None:
        raise ValueError(f"radii go by {groups['by']}; give that feature of each row")
    table = np.array([of(b["scores"]) for b in groups["bins"]] + [math.inf])
    return table[groups_of([b["from"] for b in groups["bins"]], features)]


def distances(reference, features):
    """Squared Mahalanobis distances of rows of features from the reference."""
    mean = np.array([f["mean"] for f in reference["features"]])
    lower = np.linalg.cholesky(np.array(reference["covariance"], float))
    z = np.linalg.solve(lower, (np.asarray(features, float) - mean).T)
    return (z * z).sum(0)


def drift_counts(feature, values):
    """Rows and sums in the reference's bins: bin i holds values above edges[i - 1], up to edges[i]."""
    values = np.asarray(values, float)
    bins = np.searchsorted(feature["edges"], values, side="left")
    size = len(feature["edges"]) + 1
    return np.bincount(bins, minlength=size), np.bincount(bins, weights=values, minlength=size)


def psi(feature, counts):
    """Debiased population stability index; bins are joined until each part holds a tenth of the reference."""
    was, now = np.asarray(feature["counts"], float), np.asarray(counts, float)
    m, n = was.sum(), now.sum()
    parts, a, b = [], 0.0, 0.0
    for i in range(len(was)):
        a, b = a + was[i], b + now[i]
        if a < m / PSI_PARTS and i < len(was) - 1:
            continue
        parts.append((a, b))
        a = b = 0.0
    size = len(parts)
    p, q = ((np.array(parts).T + 0.5) / (np.array([[m], [n]]) + size / 2)).tolist()
    total = sum((y - x) * math.log(y / x) for x, y in zip(p, q))
    return max(0.0, total - (size - 1) * (1 / n + 1 / m))


def wasserstein(feature, counts, sums):
    """Debiased W1 over the reference's standard deviation; each bin stands at the mean of its rows."""
    was, now = np.asarray(feature["counts"], float), np.asarray(counts, float)
    m, n = was.sum(), now.sum()
    seen = now > 0
    at = np.concatenate([feature["means"], np.asarray(sums, float)[seen] / now[seen]])
    f = np.concatenate([was / m, np.zeros(seen.sum())])
    g = np.concatenate([np.zeros(len(was)), now[seen] / n])
    order = np.argsort(at, kind="stable")
    step, f, g = np.diff(at[order]), np.cumsum(f[order])[:-1], np.cumsum(g[order])[:-1]
    chance = np.sqrt(2 / math.pi * np.maximum(0, f * (1 - f)) * (1 / n + 1 / m))
    return max(0.0, float(((np.abs(g - f) - chance) * step).sum())) / feature["sd"]


def log_beta_binomial(x, m, a, b):
    """ln P(X = x)."""
    beta = lambda p, q: math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q)
    choose = math.lgamma(m + 1) - math.lgamma(x + 1) - math.lgamma(m - x + 1)
    return choose + beta(x + a, m - x + b) - beta(a, b)


def coverage_limits(n, m, level, miss):
    """(mean, low, high) of the part of m new rows inside the radius of n calibration rows."""
    k = min(conformal_rank(n, level), n)
    cumulative = np.cumsum([math.exp(log_beta_binomial(x, m, k, n + 1 - k)) for x in range(m + 1)])
    low = int((cumulative <= miss / 2).sum())
    high = int((cumulative < 1 - miss / 2).sum())
    return k / (n + 1), min(low, m) / m, min(high, m) / m


def spread(predictions):
    """sqrt(trace of the covariance) and bias of predictions under symmetries, [g, columns], the identity first."""
    z = np.asarray(predictions, float)
    return float(np.sqrt(z.var(0, ddof=1).sum())), float(np.linalg.norm(z[0] - z.mean(0)))
