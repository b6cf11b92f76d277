"""Simulated single-peak diffraction patches of 11 x 11 pixels. Needs numpy alone.

Two generators, both pure functions of a numpy Generator:

  c3(n, rng)      the calibrated stand-in for far-field peaks of one detector: the validation set is made of it
  broad(n, rng)   wide domain randomisation, for training: other peak widths, shapes, thresholds, gains, noise

Invariants
  1. Pixel k has its centre at coordinate k; x is the column, y is the row. A position is in pixels of its own patch.
  2. Every patch holds one 8-connected component of values > 0 (the one under the brightest pixel); the rest is 0.
  3. `true_xy` is where the peak was put. `peak_xy` (c3 only) is a fit-like label: truth plus the label noise below.
  4. Same seed, same numpy: the same patches, whatever the size of a call's inner blocks (the block size is fixed).

Formulas
  profile     A [eta L + (1 - eta) G], the pseudo-Voigt form (Thompson, Cox & Hastings, J. Appl. Cryst. 20, 79, 1987),
              G = exp(-((u/su)^2 + (v/sv)^2) / 2); L is the product 1/((1 + (u/hu)^2)(1 + (v/hv)^2)) or, in half of the
              broad patches, the elliptical 1/(1 + (u/hu)^2 + (v/hv)^2); h = sqrt(2 ln 2) s is the half width of G.
  counting    g Poisson(I/g) + Normal(0, r): g counts a photon, r the read noise in counts.
  label noise per axis Normal(0, s), s = hypot(0.06, 0.295 * 150 / A) px: the uncertainty of a centroid falls as one
              over the peak's signal to noise (Bobroff, Rev. Sci. Instrum. 57, 1152, 1986); with probability 0.2 the fit
              was a bad one and s is at least 0.516 px.
  The numbers of C3 were searched so that a published network for this task and its published label file show their
  published error and label statistics on it (Ravi et al., Scientific Data 2022, doi 10.1038/s41597-022-01712-9; Liu et
  al., IUCrJ 9, 2022, doi 10.1107/S2052252521011258). It is a stand-in, not evidence about those data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PATCH = 11
HALF = PATCH // 2
HALF_WIDTH = float(np.sqrt(2 * np.log(2)))  # half width at half maximum of a Gaussian of sigma 1
BLOCK = 4096  # rows simulated at once: bounds memory, and fixes the order in which random numbers are drawn

# C3, in counts and pixels.
HEIGHT = (90.0, 14_400.0)
SIGMA = (0.594, 0.903)
ETA_MAX = 0.15
BACKGROUND_MAX = 15.0
GAIN = 5.0
READ_NOISE = 20.0
SATURATION = 14_400.0
THRESHOLD = 80.0


@dataclass(frozen=True)
class Peaks:
    """Rows of a simulated set. `peak_xy` and `hidden` are there for c3 alone."""

    patches: np.ndarray  # f4 [n, 11, 11], counts
    true_xy: np.ndarray  # f4 [n, 2]
    peak_xy: np.ndarray | None = None  # f4 [n, 2]
    hidden: np.ndarray | None = None  # f8 [n, 5]: height, sigma x, sigma y, eta, background


# ---- pieces that both generators and the scorer share --------------------------------------------------------------


def keep_component(patches: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Zeroes everything but the 8-connected component of values > 0 that holds pixel (row, col) of each patch.

    A flood fill of all patches at once: one dilation a step, until nothing grows. A snake-like component of an
    11 x 11 patch needs at most some tens of steps; peaks need three to six.
    """
    n, h, w = patches.shape
    lit = patches > 0
    reached = np.zeros((n, h + 2, w + 2), bool)
    inner = reached[:, 1:-1, 1:-1]
    index = np.arange(n)
    inner[index, row, col] = lit[index, row, col]
    while True:
        rows3 = reached[:, :-2] | reached[:, 1:-1] | reached[:, 2:]
        grown = (rows3[:, :, :-2] | rows3[:, :, 1:-1] | rows3[:, :, 2:]) & lit
        if np.array_equal(grown, inner):
            return np.where(inner, patches, patches.dtype.type(0))
        inner[...] = grown


def brightest(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the first maximum of each patch."""
    flat = patches.reshape(len(patches), -1).argmax(1)
    return flat // patches.shape[2], flat % patches.shape[2]


def clean(patches: np.ndarray) -> np.ndarray:
    """What a user's patch goes through before the network: the component under the brightest pixel is kept."""
    return keep_component(patches, *brightest(patches))


def minmax(patches: np.ndarray) -> np.ndarray:
    """(p - min) / (max - min) per patch in float32; a constant patch passes unscaled."""
    p = patches.astype(np.float32)
    low = p.min((1, 2), keepdims=True)
    span = p.max((1, 2), keepdims=True) - low
    return np.where(span > 0, (p - low) / np.where(span > 0, span, 1), p).astype(np.float32)


def crop(window: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """The 11 x 11 patch of each window whose pixel (0, 0) is the window's (row, col)."""
    steps = np.arange(PATCH)
    index = np.arange(len(window))[:, None, None]
    return window[index, (row[:, None] + steps)[:, :, None], (col[:, None] + steps)[:, None, :]]


def _central_maximum(window: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and value of the maximum of the central 3 x 3 pixels, where the peak was put."""
    mid = window.shape[1] // 2
    core = window[:, mid - 1 : mid + 2, mid - 1 : mid + 2]
    row, col = brightest(core)
    value = core[np.arange(len(core)), row, col]
    return row + mid - 1, col + mid - 1, value


def _fill(n: int, rng: np.random.Generator, block) -> Peaks:
    """Calls block(rng) until n accepted rows are there, and keeps the first n."""
    parts: list[Peaks] = []
    have = 0
    while have < n:
        part = block(rng)
        parts.append(part)
        have += len(part.patches)
    columns = zip(*((p.patches, p.true_xy, p.peak_xy, p.hidden) for p in parts))
    return Peaks(*(None if c[0] is None else np.concatenate(c)[:n] for c in columns))


# ---- C3 ------------------------------------------------------------------------------------------------------------


def c3_shape(size: int, centre: np.ndarray, sigma: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """C3's profile of height 1, [n, size, size]. Separable: [n, size] exponentials instead of [n, size, size]."""
    t = (np.arange(size)[None, None] - centre[:, :, None]) / sigma[:, :, None]
    gauss = np.exp(-0.5 * t * t)
    lorentz = 1 / (1 + (t / HALF_WIDTH) ** 2)
    product = lambda f: f[:, 1][:, :, None] * f[:, 0][:, None, :]
    return eta[:, None, None] * product(lorentz) + (1 - eta)[:, None, None] * product(gauss)


def _c3_window(n: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detector counts [n, size, size], the centres (x, y) in the window, and what else the peaks were made of."""
    height = np.exp(rng.uniform(*np.log(HEIGHT), n))
    centre = size // 2 + rng.uniform(-0.5, 0.5, (n, 2))
    sigma = rng.uniform(*SIGMA, (n, 2))
    eta = rng.uniform(0, ETA_MAX, n)
    background = rng.uniform(0, BACKGROUND_MAX, n)
    ideal = height[:, None, None] * c3_shape(size, centre, sigma, eta) + background[:, None, None]
    counts = GAIN * rng.poisson(ideal / GAIN) + rng.normal(0, READ_NOISE, ideal.shape)
    counts = np.minimum(counts, SATURATION)
    counts[counts < THRESHOLD] = 0
    return np.rint(counts).astype(np.float32), centre, np.column_stack([height, sigma, eta, background])


def _label(centre: np.ndarray, height: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    s = np.hypot(0.06, 0.295 * 150 / height)
    s = np.where(rng.random(len(height)) < 0.2, np.maximum(s, 0.516), s)
    return centre + rng.normal(0, 1, centre.shape) * s[:, None]


def _c3_block(rng: np.random.Generator) -> Peaks:
    window, centre, hidden = _c3_window(BLOCK, 19, rng)
    label = _label(centre, hidden[:, 0], rng)
    row, col, value = _central_maximum(window)
    near = np.hypot(label[:, 0] - col, label[:, 1] - row) < 1
    ok = (value > 0) & near
    window, centre, label, hidden, row, col = (a[ok] for a in (window, centre, label, hidden, row, col))
    corner = np.floor(label).astype(int) - HALF  # (x, y) of the patch's first pixel
    patch = keep_component(crop(window, corner[:, 1], corner[:, 0]), row - corner[:, 1], col - corner[:, 0])
    ok = (patch > 0).sum((1, 2)) >= 4
    offset = lambda xy: (xy - corner)[ok].astype(np.float32)
    return Peaks(patch[ok], offset(centre), offset(label), hidden[ok])


def c3(n: int, rng: np.random.Generator) -> Peaks:
    """C3 as evaluated: cropped on floor(label) - 5, labels noisy, label within 1 px of the brightest pixel."""
    return _fill(n, rng, _c3_block)


# ---- crops as the network meets them -------------------------------------------------------------------------------


def _centred(window: np.ndarray, centre: np.ndarray, rng: np.random.Generator, least: int, far: float) -> Peaks:
    """Crops on the brightest pixel, moved by -1..1 per axis, so that no prior on the position can be learnt."""
    row, col, value = _central_maximum(window)
    ok = (value > 0) & (np.hypot(centre[:, 0] - col, centre[:, 1] - row) < far)
    window, centre, row, col = window[ok], centre[ok], row[ok], col[ok]
    move = rng.integers(-1, 2, (len(window), 2))
    top, left = row - HALF + move[:, 1], col - HALF + move[:, 0]
    patch = keep_component(crop(window, top, left), row - top, col - left)
    ok = (patch > 0).sum((1, 2)) >= least
    true = centre - np.stack([left, top], 1)
    return Peaks(patch[ok], true[ok].astype(np.float32))


def _c3_centred_block(rng: np.random.Generator) -> Peaks:
    window, centre, _ = _c3_window(BLOCK, 15, rng)
    return _centred(window, centre, rng, least=3, far=1.2)


def c3_centred(n: int, rng: np.random.Generator) -> Peaks:
    """C3 peaks on crops of the kind that the network is trained on; true centres only."""
    return _fill(n, rng, _c3_centred_block)


# ---- domain randomisation ------------------------------------------------------------------------------------------


def _log_uniform(rng: np.random.Generator, low, high, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))


def _profile(du: np.ndarray, dv: np.ndarray, eta: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Pseudo-Voigt of height 1 at the scaled offsets du, dv (in sigmas)."""
    u2, v2 = du * du, dv * dv
    gauss = np.exp(np.float32(-0.5) * (u2 + v2))
    h2 = np.float32(HALF_WIDTH**2)
    lorentz = 1 / (1 + (u2 + v2) / h2 + np.where(product, u2 * v2 / (h2 * h2), np.float32(0)))
    return eta * lorentz + (1 - eta) * gauss


def _peaks(n: int, size: int, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Peaks of height 1, f4 [n, size, size]: widths, anisotropy, rotation, tails and pixel integration vary."""
    mean = _log_uniform(rng, 0.45, 1.9, n)
    ratio = np.sqrt(_log_uniform(rng, 1, 2.2, n))
    angle = rng.uniform(0, np.pi, n)
    eta = np.where(rng.random(n) < 0.5, rng.uniform(0, ETA_MAX, n), rng.uniform(0, 1, n))
    product = rng.random(n) < 0.5
    # A detector pixel integrates, C3 samples at the pixel's centre: half of the rows average 2 x 2 points a pixel.
    spread = np.where(rng.random(n) < 0.5, 0.25, 0.0)
    f = lambda a: a.astype(np.float32)[:, None, None]
    cos, sin = f(np.cos(angle)), f(np.sin(angle))
    su, sv = f(np.maximum(mean * ratio, 0.35)), f(np.maximum(mean / ratio, 0.35))
    grid = np.arange(size, dtype=np.float32)
    x = grid[None, None, :] - f(centre[:, 0])
    y = grid[None, :, None] - f(centre[:, 1])
    out = np.zeros((n, size, size), np.float32)
    points = np.flatnonzero(spread == 0), np.flatnonzero(spread > 0)
    for rows, offsets in ((points[0], [(0.0, 0.0)]), (points[1], [(a, b) for a in (-1, 1) for b in (-1, 1)])):
        for a, b in offsets:
            xs, ys = x[rows] + np.float32(0.25 * a), y[rows] + np.float32(0.25 * b)
            du = (cos[rows] * xs + sin[rows] * ys) / su[rows]
            dv = (cos[rows] * ys - sin[rows] * xs) / sv[rows]
            out[rows] += _profile(du, dv, f(eta)[rows], product[rows, None, None]) / np.float32(len(offsets))
    return out


def _broad_window(n: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    centre = size // 2 + rng.uniform(-0.5, 0.5, (n, 2))
    threshold = THRESHOLD * _log_uniform(rng, 0.3, 2.2, n)
    saturation = _log_uniform(rng, 4_000, 65_000, n)
    # Up to 1.3 x saturation: flat-topped peaks are in. The power leans towards weak peaks, which frames hold more of
    # and which leave more to learn: log-uniform heights gave a median of 26 lit pixels, real frames one of 11.
    low, high = np.log(1.2 * threshold), np.log(1.3 * saturation)
    height = np.exp(low + (high - low) * rng.random(n) ** 1.6)
    gain = _log_uniform(rng, 0.5, 8, n)
    read = threshold * _log_uniform(rng, 0.05, 0.35, n)
    # What a background subtraction leaves behind: an offset and a slope across the patch, in parts of the threshold.
    offset = threshold * rng.uniform(-0.15, 0.5, n)
    slope = threshold[:, None] * rng.normal(0, 0.015, (n, 2))
    f = lambda a: a.astype(np.float32)[:, None, None]
    away = np.arange(size, dtype=np.float32) - size // 2
    ideal = f(height) * _peaks(n, size, centre, rng)
    _add_neighbours(ideal, height, centre, rng)
    ideal += f(offset) + f(slope[:, 0]) * away[None, None, :] + f(slope[:, 1]) * away[None, :, None]
    photons = rng.poisson(np.maximum(ideal, 0) / f(gain)).astype(np.float32)
    counts = photons * f(gain) + np.minimum(ideal, 0) + rng.standard_normal(ideal.shape, np.float32) * f(read)
    counts = np.minimum(counts, f(saturation))
    # Some pipelines subtract the threshold from what is above it, most keep the value.
    kept = counts - np.where(rng.random(n) < 0.1, threshold, 0).astype(np.float32)[:, None, None]
    counts = np.where(counts < f(threshold), np.float32(0), kept)
    _kill_pixels(counts, rng)
    return counts, centre


def _add_neighbours(ideal: np.ndarray, height: np.ndarray, centre: np.ndarray, rng: np.random.Generator) -> None:
    """In 4 % of the rows a weaker peak 3 to 7 px away: where it stays connected, it must not pull the centre."""
    rows = np.flatnonzero(rng.random(len(ideal)) < 0.04)
    angle, distance = rng.uniform(0, 2 * np.pi, len(rows)), rng.uniform(3, 7, len(rows))
    place = centre[rows] + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    weight = (height[rows] * rng.uniform(0.03, 0.5, len(rows))).astype(np.float32)
    ideal[rows] += weight[:, None, None] * _peaks(len(rows), ideal.shape[1], place, rng)


def _kill_pixels(counts: np.ndarray, rng: np.random.Generator) -> None:
    """In 2 % of the rows one dead pixel within two pixels of the centre."""
    rows = np.flatnonzero(rng.random(len(counts)) < 0.02)
    at = counts.shape[1] // 2 + rng.integers(-2, 3, (len(rows), 2))
    counts[rows, at[:, 0], at[:, 1]] = 0


def _broad_block(rng: np.random.Generator) -> Peaks:
    window, centre = _broad_window(BLOCK, 15, rng)
    return _centred(window, centre, rng, least=3, far=1.5)


def broad(n: int, rng: np.random.Generator) -> Peaks:
    """Domain-randomised peaks on crops of the kind that the network is trained on; true centres only."""
    return _fill(n, rng, _broad_block)


# ---- training rows -------------------------------------------------------------------------------------------------


def symmetries(patches: np.ndarray, xy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One of the 8 symmetries of the square per row, by pixel index: column c becomes 10 - c, x becomes 10 - x."""
    which = rng.integers(0, 8, len(patches))
    p, c = patches.copy(), xy.copy()
    for bit, axis, k in ((1, 2, 0), (2, 1, 1)):
        rows = (which & bit) > 0
        p[rows] = np.flip(p[rows], axis)
        c[rows, k] = PATCH - 1 - c[rows, k]
    rows = (which & 4) > 0
    p[rows] = p[rows].transpose(0, 2, 1)
    c[rows] = c[rows, ::-1]
    return p, c


def training_rows(n: int, rng: np.random.Generator, c3_share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Scaled patches and true centres, shuffled: `c3_share` of them C3, the rest broad."""
    few = round(n * c3_share)
    parts = [c3_centred(few, rng), broad(n - few, rng)]
    patches, xy = symmetries(
        minmax(np.concatenate([p.patches for p in parts])), np.concatenate([p.true_xy for p in parts]), rng
    )
    order = rng.permutation(n)
    return patches[order], xy[order]
