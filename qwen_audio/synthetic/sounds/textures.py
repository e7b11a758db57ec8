"""Backgrounds of acoustic scenes: the constant sound of a cafe, a street, a kitchen.

Each texture takes a generator and a length in samples and returns (n,) float at 16 kHz, at any level, as the
event models do.  They are built from noise, resonances and syllables of no language; the code holds no recording.
"""

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
from qwen_audio.synthetic.sounds.models import fire, sea
from qwen_audio.synthetic.sounds.more_models import birds, crickets, train, wind

_DRILLED = 0.25  # the least share of a clip of a building site in which the drill is on
_BABBLE_S = 2.0  # length of the few seconds of a talker that a crowd is folded from


def _level(wave: np.ndarray) -> np.ndarray:
    return wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-9)


def _talker(rng: np.random.Generator, n: int) -> np.ndarray:
    """One voice without words: 4 to 6 syllables a second, each a vowel of its own, pauses, a falling pitch."""
    pitch = rng.uniform(95, 230)
    tone = harmonic(pitch * drift(rng, n, 3, 0.85, 1.2), 1.2)
    track, at = np.zeros(n), rng.uniform(0, 0.2)
    while at < n / SAMPLE_RATE:
        m = samples(rng.uniform(0.12, 0.26))
        start = round(at * SAMPLE_RATE)
        part = tone[start : start + m]
        vowel = resonances(
            [(rng.uniform(300, 800), 120, 1), (rng.uniform(900, 2200), 180, 0.5), (2700, 300, 0.2)]
        )
        if len(part) > 200:
            shape = np.sin(np.pi * np.linspace(0, 1, len(part))) ** 0.7
            track[start : start + len(part)] += filtered(part, vowel) * shape * rng.uniform(0.5, 1)
            if rng.random() < 0.4:
                h = samples(0.07)
                hiss = noise(rng, h, band(2500, 7000)) * np.sin(np.pi * np.linspace(0, 1, h))
                place(track, at, hiss, 0.1 * float(np.abs(track).max()))
        at += m / SAMPLE_RATE + (rng.uniform(0.2, 0.6) if rng.random() < 0.15 else 0.0)
    return _level(track)


def babble(rng: np.random.Generator, n: int) -> np.ndarray:
    """A crowd that talks: nine to fifteen voices, near and far, none intelligible."""
    m = samples(_BABBLE_S)
    talkers = [_talker(rng, m) for _ in range(3)]
    crowd, copies = np.zeros(n), -(-n // m) + 1
    for talker in talkers:
        voices = np.zeros(n)
        for _ in range(int(rng.integers(3, 6))):
            shift = int(rng.integers(m))
            voices += rng.uniform(0.2, 1) * np.tile(talker, copies)[shift : shift + n]
        crowd += voices * drift(rng, n, 0.8, 0.5, 1)
    return _level(crowd)


def dishes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Plates, cups and cutlery: short bright strokes on things that ring for a tenth of a second or two."""
    track = np.zeros(n)
    things = [
        [
            (f, rng.uniform(0.05, 0.35), rng.uniform(0.2, 1))
            for f in rng.uniform(1200, 3000) * rng.uniform(1, 2.5, 6)
        ]
        for _ in range(4)
    ]
    for at in events(rng, n / SAMPLE_RATE, rng.uniform(1.0, 2.5)):
        for _ in range(int(rng.integers(1, 4))):
            m = samples(0.3)
            modes = [(min(f, 7600), d, a) for f, d, a in things[rng.integers(4)]]
            stroke = struck(m, modes) + 0.3 * noise(rng, m, band(2000, 7000, 1)) * decay(m, 0.03)
            place(track, at + rng.exponential(0.06), stroke, rng.uniform(0.2, 1))
    return track


def traffic(rng: np.random.Generator, n: int) -> np.ndarray:
    """Cars that pass: tyres on the road swell and sink, bright when near, over the rumble of the others."""
    time = np.arange(n) / SAMPLE_RATE
    track = _level(noise(rng, n, band(40, rng.uniform(200, 500), 1), slope(-3))) * 0.25
    tyres = noise(rng, n, band(rng.uniform(300, 600), rng.uniform(1500, 2600), 1))
    dull = noise(rng, n, band(60, 400, 1), slope(-2))
    at = rng.uniform(-1, 1.5)
    while at < n / SAMPLE_RATE + 1:
        near = 1 / (1 + ((time - at) / rng.uniform(0.4, 1.0)) ** 2)
        track += rng.uniform(0.4, 1) * (tyres * near**1.5 + 0.6 * dull * near)
        at += rng.uniform(1.2, 4)
    return track


def cabin(rng: np.random.Generator, n: int) -> np.ndarray:
    """Inside a car that drives: engine and road through the body, low and steady, and the ticks of a blinker."""
    road = noise(rng, n, band(30, rng.uniform(120, 260), 1), slope(-4, 60)) * drift(rng, n, 1, 0.8, 1.1)
    f0 = rng.uniform(35, 75) * drift(rng, n, 0.5, 0.9, 1.1)
    track = _level(road) + rng.uniform(0.3, 0.8) * _level(harmonic(f0, 1.5))
    track = filtered(track, band(20, 500, 3)) + 0.01 * noise(rng, n, band(300, 3000, 1))
    m, gap, at = samples(0.04), rng.uniform(0.34, 0.42), rng.uniform(0, 0.5)
    tick = struck(m, [(f, 0.03, 1.0) for f in rng.uniform(1500, 4000, 3)])
    for k in range(int((n / SAMPLE_RATE - at) / gap) + 1):
        place(track, at + k * gap, tick, 0.5 if k % 2 else 0.8)
    return track


def ventilation(rng: np.random.Generator, n: int) -> np.ndarray:
    """The fan of a computer or an air duct: even dull noise with a tone or two of the motor."""
    track = noise(rng, n, band(60, rng.uniform(500, 1200), 1), slope(-2))
    hum = harmonic(np.full(n, rng.choice([50.0, 60.0]) * 2), 2.0)
    return track + rng.uniform(0.05, 0.25) * _level(hum)


def tap(rng: np.random.Generator, n: int) -> np.ndarray:
    """Water from a tap into a basin: a bright hiss full of small bubbles that ring."""
    track = 0.5 * noise(rng, n, band(rng.uniform(700, 1500), 6500, 1)) * drift(rng, n, 4, 0.8, 1.1)
    grains = []
    for f in rng.uniform(400, 2800, 24):
        m = samples(rng.uniform(0.01, 0.04))
        time = np.arange(m) / SAMPLE_RATE
        grains.append(np.sin(2 * np.pi * f * time * (1 + 3 * time)) * decay(m, m / SAMPLE_RATE))
    for k, at in enumerate(events(rng, n / SAMPLE_RATE, rng.uniform(60, 140))):
        place(track, at, grains[k % 24], rng.exponential(0.7))
    return track


def sizzle(rng: np.random.Generator, n: int) -> np.ndarray:
    """Something fries: a bright hiss of countless small bursts."""
    track = noise(rng, n, band(2500, 7500, 1)) * drift(rng, n, 25, 0.5, 1.1)
    pop = noise(rng, samples(0.004), band(1500, 7000, 1)) * decay(samples(0.004), 0.004)
    for at in events(rng, n / SAMPLE_RATE, rng.uniform(20, 60)):
        place(track, at, pop, 2 * rng.exponential(1.0))
    return track


def hammering(rng: np.random.Generator, n: int) -> np.ndarray:
    """A building site: a hammer on steel, a drill in stone that starts and stops, a diesel engine behind."""
    track = (
        0.3
        * _level(noise(rng, n, band(40, 300, 1)))
        * (1 + 0.5 * np.sin(np.arange(n) * rng.uniform(0.006, 0.01)))
    )
    beat = np.arange(n) / SAMPLE_RATE * rng.uniform(18, 30) % 1
    drill = noise(rng, n, band(300, 4000, 1)) * np.exp(-4 * beat)
    on = drift(rng, n, 0.7, -1, 1) > 0.1
    while on.mean() < _DRILLED:  # captions tell of the drill
        on = drift(rng, n, 0.7, -1, 1) > 0.1
    track += rng.uniform(0.3, 0.8) * drill * np.convolve(on, np.ones(800) / 800, "same")
    m, at, gap = samples(0.35), rng.uniform(0, 0.4), rng.uniform(0.45, 0.8)
    modes = [(f, rng.uniform(0.1, 0.5), rng.uniform(0.3, 1)) for f in rng.uniform(700, 5000, 6)]
    blow = struck(m, modes) + 2 * noise(rng, m, band(300, 5000, 1)) * decay(m, 0.03)
    while at < n / SAMPLE_RATE:
        place(track, at, blow, rng.uniform(0.4, 0.8))
        at += gap * rng.uniform(0.92, 1.08) + (rng.uniform(0.5, 1.5) if rng.random() < 0.12 else 0)
    return track


def hens(rng: np.random.Generator, n: int) -> np.ndarray:
    """A hen-house yard: short clucks, a few of them at once, now and then a long one."""
    track = 0.02 * noise(rng, n, slope(-4, 200))
    throat = resonances([(900, 400, 1), (2100, 600, 0.6), (3300, 800, 0.2)], 0.02)
    for _ in range(int(rng.integers(2, 5))):
        pitch, at, near = rng.uniform(350, 600), rng.uniform(0, 0.5), rng.uniform(0.3, 1)
        while at < n / SAMPLE_RATE:
            m = samples(rng.uniform(0.3, 0.5) if rng.random() < 0.1 else rng.uniform(0.05, 0.1))
            f0 = pitch * curve(m, (0, 0.9), (0.4, rng.uniform(1.0, 1.4)), (1, 0.8))
            cluck = filtered(harmonic(f0, 0.8), throat) * np.sin(np.pi * np.linspace(0, 1, m))
            place(track, at, cluck, near)
            at += m / SAMPLE_RATE + rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.5, 1.5)])
    return track


def leaves(rng: np.random.Generator, n: int) -> np.ndarray:
    """Birds in trees whose leaves rustle."""
    rustle = noise(rng, n, band(1200, 5500, 1)) * drift(rng, n, 1.5, 0.1, 1) * drift(rng, n, 25, 0.6, 1)
    return _level(birds(rng, n)) + rng.uniform(0.1, 0.35) * _level(rustle)


def surf(rng: np.random.Generator, n: int) -> np.ndarray:
    """Waves on a beach, with some wind."""
    return _level(sea(rng, n)) + rng.uniform(0, 0.15) * _level(wind(rng, n))


def night(rng: np.random.Generator, n: int) -> np.ndarray:
    """Crickets in the country, and now and then the hoot of an owl."""
    track = _level(crickets(rng, n))
    at, f = rng.uniform(0, 5), rng.uniform(330, 450)
    while at < n / SAMPLE_RATE:
        for delay, seconds in ((0, 0.35), (0.55, 0.12), (0.75, 0.6)):
            m = samples(seconds)
            hoot = np.sin(2 * np.pi * f * np.arange(m) / SAMPLE_RATE) * np.sin(np.pi * np.linspace(0, 1, m))
            place(track, at + delay, hoot, 0.8)
        at += rng.uniform(3, 6)
    return track


def compartment(rng: np.random.Generator, n: int) -> np.ndarray:
    """Inside a train: wheels over the joints, dulled by the walls."""
    return filtered(train(rng, n), band(40, rng.uniform(900, 2000), 2))


def camp(rng: np.random.Generator, n: int) -> np.ndarray:
    """A camp fire under the trees: crackles, and crickets far off."""
    return _level(fire(rng, n)) + rng.uniform(0.02, 0.1) * _level(crickets(rng, n))


def platform(rng: np.random.Generator, n: int) -> np.ndarray:
    """A train that runs into an underground station, squeals and stands, with the gong of an announcement."""
    f0 = rng.uniform(2200, 3800)
    roar = noise(rng, n, band(60, 900, 1), slope(-2)) * curve(
        n, (0, 0.2), (rng.uniform(0.3, 0.6), 1), (1, 0.3)
    )
    brake = np.sin(2 * np.pi * np.cumsum(f0 * drift(rng, n, 4, 0.99, 1.01)) / SAMPLE_RATE)
    track = _level(roar) + 0.15 * brake * curve(n, (0, 0), (0.3, 0.2), (0.6, 1), (0.8, 0)) * drift(
        rng, n, 20, 0.3, 1
    )
    at, pitch = rng.uniform(0.1, 0.4) * n / SAMPLE_RATE, rng.uniform(500, 750)
    for k, ratio in enumerate((1.26, 1.0) if rng.random() < 0.5 else (1.0, 1.26, 1.5)):
        place(
            track,
            at + 0.5 * k,
            struck(samples(1.2), [(pitch * ratio, 1.5, 1.2), (2 * pitch * ratio, 0.7, 0.3)]),
            1.2,
        )
    return track


def organ(rng: np.random.Generator, n: int) -> np.ndarray:
    """A pipe organ that holds chords in a church."""
    track, at = 0.02 * noise(rng, n, slope(-3)), 0.0
    root = 110 * 2 ** (rng.integers(0, 8) / 12)
    while at < n / SAMPLE_RATE:
        m = samples(rng.uniform(1.0, 2.2))
        step = rng.choice([0, 5, 7, -3])
        for third in (0, 4 if step != -3 else 3, 7, 12):
            f = root * 2 ** ((step + third) / 12)
            pipe = sum(
                a * np.sin(2 * np.pi * k * f * np.arange(m) / SAMPLE_RATE)
                for k, a in ((1, 1), (2, 0.6), (4, 0.4), (8, 0.15))
            )
            place(track, at, pipe * curve(m, (0, 0), (0.05, 1), (0.92, 1), (1, 0)), 0.3)
        at += 0.98 * m / SAMPLE_RATE
    return track
