"""Simulated X-ray fluorescence spectra of 512 channels: which of six metals gives the most light? Needs numpy alone.

  spectra(n, rng)             the validation, calibration and training sets are made of it
  spectra(n, rng, SCENARIO)   the same with one thing that training never showed, for tests of drift and trust

Invariants
  1. Counts are whole numbers, as a pulse-height analyser gives them. Nothing is smoothed, subtracted or scaled.
  2. `label` is the index in CLASSES of the element that emits the most K alpha photons; it is truth, not a fit.
  3. Same seed, same numpy: the same spectra, whatever the size of a call (blocks are of a fixed size).

Formulas
  lines       energies of K alpha (weighted mean of the doublet) and K beta in keV, as in any table of X-ray lines
              (Bearden, Rev. Mod. Phys. 39, 78, 1967, rounded to 1 eV). K beta of one metal lies within 0.1 keV
              of K alpha of the next, closer than a detector can tell apart: a trace looks like the next metal.
  resolution  sigma(E)^2 = s0^2 + F e E: electronic noise and the Fano limit of silicon, F = 0.115, e = 3.65 eV.
  escape      a part of each line 1.742 keV lower (silicon K); a flat shelf below each line (incomplete charge).
  pile-up     two photons counted as one: part p of the self-convolution of the spectrum, at the sum of the energies.
  continuum   scattered bremsstrahlung, E^-a (Emax / E - 1) by Kramers, under everything.
  absorption  exp(-c / E^3): air and windows take the soft photons.
  calibration channel = (E (1 + g) + o - E0) / width: gain g and offset o drift from spectrum to spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CHANNELS = 512
WIDTH = 0.020  # keV a channel
START = 2.0  # keV at the left edge of channel 0
BLOCK = 2048  # rows simulated at once: bounds memory, and fixes the order in which random numbers are drawn

CLASSES = ("Cr", "Mn", "Fe", "Co", "Ni", "Cu")
# K alpha, K beta in keV.
LINES = {
    "Cr": (5.412, 5.947),
    "Mn": (5.895, 6.490),
    "Fe": (6.400, 7.058),
    "Co": (6.925, 7.649),
    "Ni": (7.472, 8.265),
    "Cu": (8.041, 8.905),
    # What comes along in samples, air and holders; never the answer.
    "Ar": (2.957, 3.190),
    "K": (3.312, 3.590),
    "Ca": (3.690, 4.013),
    "Ti": (4.508, 4.932),
    "Zn": (8.631, 9.572),
    # Unknown to training: its K beta lies on K alpha of Cr.
    "V": (4.949, 5.427),
}
NUISANCE = ("Ar", "K", "Ca", "Ti", "Zn")


@dataclass(frozen=True)
class Domain:
    """Ranges from which each spectrum draws; log-uniform where a range spans decades."""

    counts: tuple[float, float] = (120.0, 10_000.0)
    signal: tuple[float, float] = (0.08, 0.6)  # part of the counts that is lines
    second: float = 1.0  # the second metal gives up to this part of the first
    gain: float = 0.006  # sd
    offset: float = 0.015  # keV, half width
    noise: tuple[float, float] = (0.020, 0.060)  # s0, keV
    slope: tuple[float, float] = (0.3, 1.8)  # a of the continuum
    unknown: float = 0.0  # vanadium, as a part of the first metal


USUAL = Domain()
SCENARIOS = {
    "faint": replace(USUAL, counts=(40.0, 120.0)),
    "gain_off": replace(USUAL, gain=0.05),
    "other_detector": replace(USUAL, noise=(0.10, 0.16)),
    "background": replace(USUAL, signal=(0.01, 0.05), slope=(2.5, 4.0)),
    "unknown_element": replace(USUAL, unknown=3.0),
}


@dataclass(frozen=True)
class Spectra:
    """Rows of a simulated set."""

    counts: np.ndarray  # u2 [n, 512]
    label: np.ndarray  # i4 [n], index in CLASSES
    amounts: np.ndarray  # f4 [n, 6], K alpha photons of each class, as parts of their sum


def spectra(n: int, rng: np.random.Generator, domain: Domain = USUAL) -> Spectra:
    """n spectra; the classes are equally frequent in the long run."""
    blocks = [block(rng, domain) for _ in range(-(-n // BLOCK))]
    join = lambda name: np.concatenate([getattr(b, name) for b in blocks])[:n]
    return Spectra(join("counts"), join("label"), join("amounts"))


def block(rng: np.random.Generator, domain: Domain) -> Spectra:
    n = BLOCK
    amounts = mixtures(n, rng, domain.second)
    lines = {name: amounts[:, i] for i, name in enumerate(CLASSES)}
    for name in NUISANCE:
        # Mostly traces; argon of the air is nearly always there.
        present = rng.random(n) < (0.8 if name == "Ar" else 0.35)
        lines[name] = present * np.exp(rng.uniform(np.log(0.01), np.log(0.5), n))
    if domain.unknown > 0:
        lines["V"] = domain.unknown * rng.uniform(0.5, 1.0, n)
    detector = Detector.draw(n, rng, domain)
    signal = detector.normalised(detector.lines(lines, rng))
    continuum = detector.normalised(detector.continuum(rng, domain))
    part = rng.uniform(*domain.signal, (n, 1))
    shape = detector.pile_up(part * signal + (1 - part) * continuum, rng)
    total = np.exp(rng.uniform(np.log(domain.counts[0]), np.log(domain.counts[1]), (n, 1)))
    counts = rng.poisson(total * shape)
    return Spectra(
        np.minimum(counts, 65_535).astype(np.uint16),
        amounts.argmax(1).astype(np.int32),
        (amounts / amounts.sum(1, keepdims=True)).astype(np.float32),
    )


def mixtures(n: int, rng: np.random.Generator, second: float) -> np.ndarray:
    """K alpha photons of each class: one metal leads, in four of five a second follows closely, others are traces."""
    amounts = np.exp(rng.uniform(np.log(1e-3), np.log(0.15), (n, len(CLASSES))))
    order = rng.random((n, len(CLASSES))).argsort(1)
    rows = np.arange(n)
    follows = rng.random(n) < 0.8
    amounts[rows, order[:, 1]] = np.where(follows, second * np.sqrt(rng.random(n)), amounts[rows, order[:, 1]])
    amounts[rows, order[:, 2]] = np.where(rng.random(n) < 0.3, 0.5 * rng.random(n), amounts[rows, order[:, 2]])
    amounts[rows, order[:, 0]] = 1.0
    return amounts


@dataclass(frozen=True)
class Detector:
    """One detector a spectrum: every array is [n, 1]."""

    gain: np.ndarray
    offset: np.ndarray
    noise: np.ndarray
    absorption: np.ndarray
    escape: np.ndarray
    shelf: np.ndarray
    beta: np.ndarray

    @staticmethod
    def draw(n: int, rng: np.random.Generator, domain: Domain) -> "Detector":
        column = lambda low, high: rng.uniform(low, high, (n, 1))
        return Detector(
            gain=rng.normal(0, domain.gain, (n, 1)),
            offset=column(-domain.offset, domain.offset),
            noise=column(*domain.noise),
            absorption=column(0, 25),
            escape=column(0.002, 0.012),
            shelf=column(0, 0.02),
            beta=column(0.12, 0.16),
        )

    def energies(self) -> np.ndarray:
        """Photon energy at the middle of each channel, [n, 512]."""
        nominal = START + (np.arange(CHANNELS) + 0.5) * WIDTH
        return (nominal - self.offset) / (1 + self.gain)

    def transmission(self, energy: np.ndarray | float) -> np.ndarray:
        return np.exp(-self.absorption / np.maximum(energy, 0.5) ** 3)

    def lines(self, amounts: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        at = self.energies().astype(np.float32)
        out = np.zeros_like(at)
        for name, amount in amounts.items():
            for energy, part in zip(LINES[name], (1.0, self.beta)):
                # Absorption in the sample differs from line to line.
                height = amount[:, None] * part * self.transmission(energy) * rng.uniform(0.95, 1.05, self.gain.shape)
                self.line(out, at, energy, height)
        return out

    def line(self, out: np.ndarray, at: np.ndarray, energy: float, height: np.ndarray) -> None:
        """A line, its escape peak and its shelf; only the channels that they reach are touched."""
        sigma = np.sqrt(self.noise**2 + 0.115 * 3.65e-3 * energy).astype(np.float32)
        # A gain of 5 % moves a line of 10 keV by 0.5 keV; four sigma of the widest reach 0.7 keV.
        def add(centre: float, heights: np.ndarray) -> None:
            low, high = (int((centre + d - START) / WIDTH) for d in (-1.8, 1.8))
            here = slice(max(low, 0), max(min(high, CHANNELS), 0))
            z = (at[:, here] - centre) / sigma
            out[:, here] += (heights * (WIDTH / 2.5066 / sigma)).astype(np.float32) * np.exp(-0.5 * z * z)

        add(energy, height)
        if energy - 1.742 > START - 0.5:
            add(energy - 1.742, height * self.escape)
        out += (height * self.shelf * WIDTH / energy).astype(np.float32) * (at < energy)

    def continuum(self, rng: np.random.Generator, domain: Domain) -> np.ndarray:
        energy = self.energies()
        slope = rng.uniform(*domain.slope, self.gain.shape)
        tube = rng.uniform(14, 40, self.gain.shape)
        return energy**-slope * np.maximum(tube / energy - 1, 0) * self.transmission(energy)

    def pile_up(self, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Channels i and j add up to channel i + j + START / WIDTH."""
        part = rng.uniform(0, 0.015, self.gain.shape)
        spectrum = np.fft.rfft(shape, 2 * CHANNELS, axis=1)
        sums = np.fft.irfft(spectrum * spectrum, 2 * CHANNELS, axis=1)
        out = (1 - part) * shape
        shift = round(START / WIDTH)
        out[:, shift:] += part * np.maximum(sums[:, : CHANNELS - shift], 0)
        return out / out.sum(1, keepdims=True)

    @staticmethod
    def normalised(rows: np.ndarray) -> np.ndarray:
        return rows / rows.sum(1, keepdims=True)


def minmax(counts: np.ndarray) -> np.ndarray:
    """What `minmax_per_sample` of model.json does: (x - min) / (max - min) in FP32; a constant row passes unscaled."""
    x = counts.astype(np.float32)
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    span = np.where(high > low, high - low, np.float32(1))
    return np.where(high > low, (x - low) / span, x).astype(np.float32)
