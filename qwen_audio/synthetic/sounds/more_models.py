"""More procedural sound events, beyond the ten of models.py, with the same signature."""

from __future__ import annotations

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.synthetic.sounds.acoustics import (
    band,
    curve,
    decay,
    drift,
    events,
    filtered,
    harmonic,
    noise,
    place,
    resonances,
    samples,
    slope,
    struck,
)
from qwen_audio.synthetic.sounds.models import Model, motor, rain


def siren(rng: np.random.Generator, n: int) -> np.ndarray:
    """A wail, a yelp or two alternating tones, with a horn's few strong harmonics."""
    time = np.arange(n) / SAMPLE_RATE
    kind, low, high = rng.integers(3), rng.uniform(350, 700), rng.uniform(900, 1600)
    period = (rng.uniform(3, 7), rng.uniform(0.25, 0.5), rng.uniform(0.8, 1.6))[kind]
    phase = (time / period + rng.random()) % 1
    shape = np.where(phase < 0.5, phase < 2, 0.0) if kind == 2 else 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    f0 = low * (min(high / low, 1.35) if kind == 2 else high / low) ** shape
    horn = resonances([(1200, 900, 1), (2600, 900, 0.5)], 0.1)
    return filtered(harmonic(f0, rng.uniform(0.8, 2)), horn) * drift(rng, n, 1, 0.6, 1)


def bell(rng: np.random.Generator, n: int) -> np.ndarray:
    """Strokes on a church or hand bell: hum, prime, tierce, quint, nominal and more partials."""
    track, strike = np.zeros(n), 200 * 2 ** rng.uniform(0, 3)
    ring = min(rng.uniform(2, 6) * (400 / strike) ** 0.3, 6)
    ratios = np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4.1, 5.4]) * rng.uniform(0.99, 1.01, 10)
    modes = [
        (strike * r, ring / (0.5 + 0.6 * r), rng.uniform(0.3, 1) / (0.6 + 0.4 * r))
        for r in ratios
        if strike * r < 7800
    ]
    at, gap = rng.uniform(0, 0.4), rng.uniform(0.5, 2.5)
    m = samples(min(ring, 4))
    tone = struck(m, modes) * np.minimum(np.arange(m) / 32, 1)
    while at < n / SAMPLE_RATE:
        place(track, at, tone, rng.uniform(0.7, 1))
        at += gap * rng.uniform(0.97, 1.03)
    return track


def whistling(rng: np.random.Generator, n: int) -> np.ndarray:
    """A whistled tune: a nearly pure tone about 1 to 2.5 kHz with glides, vibrato and some breath."""
    track, at, pitch = np.zeros(n), rng.uniform(0, 0.3), rng.uniform(900, 1700)
    while at < n / SAMPLE_RATE - 0.05:
        m = samples(rng.uniform(0.15, 0.9))
        new = float(np.clip(pitch * 2 ** (rng.integers(-5, 6) / 12), 700, 2800))
        f0 = curve(m, (0, pitch), (rng.uniform(0.05, 0.3), new), (1, new))
        f0 *= 1 + rng.uniform(0, 0.015) * np.sin(2 * np.pi * rng.uniform(4, 7) * np.arange(m) / SAMPLE_RATE)
        tone = np.sin(2 * np.pi * np.cumsum(f0) / SAMPLE_RATE)
        tone += rng.uniform(0.005, 0.05) * noise(rng, m, band(new * 0.7, new * 1.6))
        place(track, at, tone * curve(m, (0, 0), (0.1, 1), (0.8, 0.8), (1, 0)), rng.uniform(0.7, 1))
        at, pitch = at + m / SAMPLE_RATE + (rng.uniform(0, 0.25) if rng.random() < 0.5 else 0), new
    return track


def footsteps(rng: np.random.Generator, n: int) -> np.ndarray:
    """Steps, 1.4 to 2.8 a second: the heel's thump, then the sole on a hard or a loose floor."""
    track, loose = np.zeros(n), rng.random() < 0.4
    gap, at = 1 / rng.uniform(1.4, 2.8), rng.uniform(0, 0.4)
    thump, low, high = rng.uniform(70, 220), rng.uniform(300, 1200), rng.uniform(2500, 7000)
    while at < n / SAMPLE_RATE:
        m = samples(0.22)
        step = struck(m, [(thump * rng.uniform(0.9, 1.1), 0.09, 1.0), (thump * 2.7, 0.05, 0.5)])
        for delay, level in ((0.0, 1.0), (rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.8))):
            k = samples(0.15)
            sole = noise(rng, k, band(low, high)) * decay(k, rng.uniform(0.1, 0.2) if loose else 0.035, 0.002)
            if loose:
                sole *= np.abs(drift(rng, k, 300, -1, 1))  # gravel, leaves, snow: many small contacts
            place(step, delay, sole, level * (1.2 if loose else 0.7))
        place(track, at, step, rng.uniform(0.7, 1))
        at += gap * rng.uniform(0.94, 1.06)
    return track


def knocking(rng: np.random.Generator, n: int) -> np.ndarray:
    """Knuckles on a door: groups of two to five equal knocks, the panel's low modes quickly damped."""
    track, at = np.zeros(n), rng.uniform(0, 0.4)
    modes = [(f, rng.uniform(0.05, 0.16), rng.uniform(0.3, 1)) for f in 90 * 2 ** rng.uniform(0, 3.3, 7)]
    while at < n / SAMPLE_RATE:
        gap = rng.uniform(0.13, 0.3)
        for k in range(int(rng.integers(2, 6))):
            m = samples(0.2)
            knock = struck(m, modes) + 0.8 * noise(rng, m, band(400, 3500)) * decay(m, 0.02, 0.0005)
            place(track, at + k * gap * rng.uniform(0.96, 1.04), knock, rng.uniform(0.7, 1))
        at += 5 * gap + rng.uniform(0.4, 1.5)
    return track


def car(rng: np.random.Generator, n: int) -> np.ndarray:
    """A car's engine, idling or driven: 20 to 90 firings a second, dull beside a chainsaw."""
    rpm = [rng.uniform(22, 40)]
    for _ in range(3):
        rpm.append(float(np.clip(rpm[-1] * rng.choice([1, 1, 1.8, 0.6]), 20, 95)))
    f0 = curve(n, *((k / 3, value) for k, value in enumerate(rpm))) * drift(rng, n, 5, 0.99, 1.01)
    pipe = resonances([(rng.uniform(80, 180), 90, 1), (rng.uniform(280, 500), 200, 0.6)], 0.15)
    return filtered(motor(rng, f0, rng.uniform(0.8, 1.3), rng.uniform(0.3, 1)), pipe, slope(-2, 400))


def wind(rng: np.random.Generator, n: int) -> np.ndarray:
    """Gusts of low noise and, with them, the howl of moving resonances."""
    gust = drift(rng, n, rng.uniform(0.5, 2), 0.1, 1) ** 1.5
    track = noise(rng, n, slope(-rng.uniform(5, 8), 80)) * (0.2 + gust)
    carrier = noise(rng, n, band(1, rng.uniform(15, 50)))  # narrow noise, carried up to the moving centre
    for _ in range(int(rng.integers(1, 3))):
        centre = rng.uniform(250, 700) * (1 + 0.6 * gust * drift(rng, n, 1, 0.6, 1))
        howl = carrier * np.sin(2 * np.pi * np.cumsum(centre) / SAMPLE_RATE)
        track += rng.uniform(0.05, 0.6) * howl * gust
    return track


def birds(rng: np.random.Generator, n: int) -> np.ndarray:
    """Song between 2 and 7 kHz: a few birds, each with its own phrase of sweeps, trills and whistles."""
    track = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        pitch, notes = rng.uniform(2300, 5500), []
        for _ in range(int(rng.integers(1, 6))):
            m = samples(rng.uniform(0.03, 0.18))
            f0 = pitch * curve(m, *((k / 2, rng.uniform(0.75, 1.3)) for k in range(3)))
            f0 *= 1 + rng.choice([0, 0.06]) * np.sin(
                2 * np.pi * rng.uniform(20, 60) * np.arange(m) / SAMPLE_RATE
            )
            tone = np.sin(2 * np.pi * np.cumsum(np.minimum(f0, 7600)) / SAMPLE_RATE)
            notes += [(tone * np.sin(np.pi * np.linspace(0, 1, m)), rng.uniform(0.01, 0.08))] * rng.choice(
                [1, 1, 4]
            )
        at, level = rng.uniform(0, 0.6), rng.uniform(0.3, 1)
        while at < n / SAMPLE_RATE:
            for tone, pause in notes:
                place(track, at, tone, level)
                at += len(tone) / SAMPLE_RATE + pause
            at += rng.uniform(0.2, 1.5)
    return track + 0.01 * noise(rng, n, slope(-4, 200))


def thunder(rng: np.random.Generator, n: int) -> np.ndarray:
    """A clap, then rumble that rolls away for seconds; often with rain."""
    track, at = np.zeros(n), rng.uniform(0, 0.3) * n / SAMPLE_RATE
    roll = noise(rng, n, band(25, rng.uniform(120, 350), 1), slope(-3, 60)) * drift(rng, n, 6, 0.2, 1)
    roll *= decay(n, rng.uniform(4, 9), rng.uniform(0.02, 0.6))
    place(track, at, roll, 3)
    for delay in events(rng, 0.6, rng.choice([0, 10])):
        m = samples(rng.uniform(0.1, 0.5))
        place(
            track,
            at + delay,
            noise(rng, m, slope(-4, 150)) * decay(m, m / SAMPLE_RATE, 0.003),
            rng.uniform(0.5, 2),
        )
    return track + rng.choice([0.01, 0.1, 0.3]) * rain(rng, n)


def crickets(rng: np.random.Generator, n: int) -> np.ndarray:
    """Chirps of three or four quick pulses at 3.5 to 5.5 kHz, two or three a second, or one endless trill."""
    time, track = np.arange(n) / SAMPLE_RATE, np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        pulse, pitch = rng.uniform(22, 45), rng.uniform(3300, 5500)
        beats = np.maximum(np.sin(2 * np.pi * (pulse * time + rng.random())), 0) ** 1.5
        trill = rng.random() < 0.3
        chirp = (
            1.0 if trill else ((time * rng.uniform(1.5, 3.5) + rng.random()) % 1) < rng.uniform(0.25, 0.45)
        )
        track += rng.uniform(0.3, 1) * beats * chirp * np.sin(2 * np.pi * pitch * time)
    return track + rng.uniform(0.005, 0.05) * noise(rng, n, slope(-3, 300))


def white_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Equal power at every frequency."""
    return noise(rng, n)


def train(rng: np.random.Generator, n: int) -> np.ndarray:
    """Wheels over rail joints, pair after pair, in a low roar."""
    track = noise(rng, n, slope(-rng.uniform(4, 7), 100)) * drift(rng, n, 2, 0.7, 1.1)
    gap, at = rng.uniform(0.45, 1.1), rng.uniform(0, 0.4)
    modes = [(f, rng.uniform(0.05, 0.2), rng.uniform(0.3, 1)) for f in 120 * 2 ** rng.uniform(0, 4, 6)]
    while at < n / SAMPLE_RATE:
        for delay in (0.0, 0.22 * gap, 0.5 * gap, 0.72 * gap)[: int(rng.choice([2, 4]))]:
            m = samples(0.18)
            clack = struck(m, modes) + noise(rng, m, band(200, 3000, 1)) * decay(m, 0.08)
            place(track, at + delay, clack, rng.uniform(0.8, 1.6))
        at += gap * rng.uniform(0.98, 1.02)
    return track


def typing(rng: np.random.Generator, n: int) -> np.ndarray:
    """Keys struck unevenly, some 4 to 10 a second, each a press and a softer release."""
    track, at = noise(rng, n, slope(-5, 80)) * rng.uniform(0.002, 0.02), rng.uniform(0, 0.3)
    rate, body = rng.uniform(4, 10), 500 * 2 ** rng.uniform(0, 2.5, 5)
    while at < n / SAMPLE_RATE:
        m = samples(0.05)
        modes = [(f * rng.uniform(0.93, 1.07), 0.025, rng.uniform(0.2, 1)) for f in body]
        key = struck(m, modes) + noise(rng, m, band(1500, 7500)) * decay(m, 0.015, 0.0004)
        place(track, at, key, rng.uniform(0.5, 1))
        place(track, at + rng.uniform(0.05, 0.1), key, rng.uniform(0.1, 0.3))
        at += rng.gamma(3, 1 / (3 * rate)) + (rng.uniform(0.2, 0.7) if rng.random() < 0.08 else 0)
    return track


EXTRA: dict[str, Model] = {
    "siren": siren,
    "bell ringing": bell,
    "whistling": whistling,
    "footsteps": footsteps,
    "door knocking": knocking,
    "car engine": car,
    "wind": wind,
    "birds singing": birds,
    "thunderstorm": thunder,
    "crickets chirping": crickets,
    "white noise": white_noise,
    "train": train,
    "keyboard typing": typing,
}
