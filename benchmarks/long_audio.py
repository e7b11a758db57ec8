"""Measurements on a long recording of real and synthetic speech with pauses: memory, speed, cuts, kills, invented text.

    python benchmarks/long_audio.py make --corpus ../shared/corpus --hours 3 --out out/long
    python benchmarks/long_audio.py run --out out/long
    python benchmarks/long_audio.py cut --out out/long --minutes 5
    python benchmarks/long_audio.py windows --out out/long --minutes 20 --trials 150
    python benchmarks/long_audio.py fixed --out out/long --minutes 10
    python benchmarks/long_audio.py kill --out out/long --minutes 5
    python benchmarks/long_audio.py invented --corpus ../shared/corpus --out out/long
    python benchmarks/long_audio.py lost --corpus ../shared/corpus --out out/long

Figures depend on the machine, with OMP_NUM_THREADS as set; the recording is the same for the same seed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import psutil
import soundfile

import qwen_audio
from qwen_audio.api import Request
from qwen_audio.audio.load import load_audio
from qwen_audio.data.manifest import read_manifest
from qwen_audio.synthetic.write import synthesize
from qwen_audio.transcribe.segments import windows_of

RATE = 16_000
SPEECH = ("kathleen", "fsdd_seq", "asr_fixtures", "leopard", "fsdd")
OTHER = ("esc10", "music", "blanket", "splendid_piano")
WORLD = ("scenes", "music", "notes", "sounds")


def clips(corpus: Path | None, folder: Path) -> list[tuple[str, str]]:
    """(path, text) of test and validation speech of the corpus, and of held-out synthetic speech."""
    found = []
    if corpus:
        for row in rows(corpus):
            if row["task"] == "asr" and row["source"] in SPEECH:
                found.append((str(corpus / row["path"]), row["text"]))
    made = folder / "speech"
    if not made.is_dir():
        synthesize(made, kind="speech", count=150, held_out=True, seed=3)
    found += [(e.audio[0].path, e.text) for e in read_manifest(made / "manifest.jsonl")]
    return found


def rows(corpus: Path) -> Iterator[dict]:
    for split in ("test", "valid"):
        for line in (corpus / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def make(options: argparse.Namespace) -> None:
    """Write long.wav and truth.json: clips in random order with pauses of 0.7 to 2.5 s of faint noise."""
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    pool = clips(options.corpus, options.out)
    waves: dict[str, np.ndarray] = {}
    truth, at = [], 0
    with soundfile.SoundFile(options.out / "long.wav", "w", RATE, 1, "PCM_16") as file:
        while at < options.hours * 3600 * RATE:
            path, text = pool[rng.integers(len(pool))]
            wave = waves.setdefault(path, load_audio(path))
            level = 10 ** (rng.uniform(-75, -60) / 20)
            pause = (level * rng.standard_normal(int(RATE * rng.uniform(0.7, 2.5)))).astype(np.float32)
            file.write(pause)
            file.write(wave)
            truth.append([at + len(pause), at + len(pause) + len(wave), text])
            at += len(pause) + len(wave)
    (options.out / "truth.json").write_text(json.dumps(truth))
    print(
        f"{at / RATE / 3600:.2f} h, {len(truth)} clips, {sum(b - a for a, b, _ in truth) / RATE / 3600:.2f} h in them"
    )


def command(source: Path, target: Path) -> list[str]:
    verb = [sys.executable, "-m", "qwen_audio", "transcribe"]
    return [*verb, str(source), "--words", "--format", "json", "--output", str(target), "--progress"]


def run(options: argparse.Namespace) -> None:
    """The command line on the whole: peak resident memory, time, word error rate."""
    target = options.out / "long.json"
    began = time.time()
    process = subprocess.Popen(command(options.out / "long.wav", target))
    watched, peak, curve = psutil.Process(process.pid), 0, []
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
            curve.append(watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    wall = time.time() - began
    data = json.loads(target.read_text(encoding="utf-8"))
    truth = json.loads((options.out / "truth.json").read_text())
    said = " ".join(text.lower() for *_, text in truth)
    starts = [word["start"] for word in data["words"]]
    tenths = [f"{max(part) / 2**20:.0f}" for part in np.array_split(curve, 10) if len(part)]
    print(
        f"{data['duration'] / 3600:.2f} h in {wall:.0f} s: real-time factor {wall / data['duration']:.3f} "
        f"({data['duration'] / wall:.1f} times real time); peak memory {peak / 2**20:.0f} MiB (in each "
        f"tenth of the time {', '.join(tenths)}); {len(data['segments'])} segments, {len(starts)} words, "
        f"in order: {starts == sorted(starts)}; word error rate {jiwer.wer(said, data['text']):.3f}"
    )


def first_minutes(options: argparse.Namespace) -> tuple[np.ndarray, list[list]]:
    truth = [
        t for t in json.loads((options.out / "truth.json").read_text()) if t[1] < options.minutes * 60 * RATE
    ]
    wave, _ = soundfile.read(options.out / "long.wav", frames=truth[-1][1] + RATE // 2, dtype="float32")
    return wave, truth


def cut(options: argparse.Namespace) -> None:
    """Compare the whole with pieces cut at random places in pauses: words and their times."""
    wave, truth = first_minutes(options)
    model = qwen_audio.load()
    whole = model.transcribe((wave, RATE), word_timestamps=True).words
    rng = np.random.default_rng(options.seed)
    pauses = [(a[1], b[0]) for a, b in pairwise(truth)]
    for _ in range(options.trials):
        chosen = sorted(rng.choice(len(pauses), options.cuts, replace=False))
        places = [int(rng.uniform(pauses[i][0] + 0.3 * RATE, pauses[i][1] - 0.3 * RATE)) for i in chosen]
        words = []
        for start, end in zip([0, *places], [*places, len(wave)], strict=True):
            part = model.transcribe((wave[start:end], RATE), word_timestamps=True)
            words += [(w.word, w.start + start / RATE, w.end + start / RATE) for w in part.words]
        texts = [w.word for w in whole], [w[0] for w in words]
        shift, near = float("nan"), float("nan")
        if texts[0] == texts[1]:
            shifts = [max(abs(a.start - b[1]), abs(a.end - b[2])) for a, b in zip(whole, words, strict=True)]
            shift, near = max(shifts), float(np.mean([one <= 0.0401 for one in shifts]))
        wrong = jiwer.process_words(" ".join(texts[0]), " ".join(texts[1]))
        changed = wrong.substitutions + wrong.deletions + wrong.insertions
        print(
            f"{len(wave) / RATE:.0f} s cut at {[round(p / RATE, 2) for p in places]}: {changed} of {len(whole)} words "
            f"differ; where none does, {near:.3f} of them within 40 ms, the largest shift {1000 * shift:.0f} ms",
            flush=True,
        )


def windows(options: argparse.Namespace) -> None:
    """Compare the windows of the whole with those of the minute before and after a cut in a random pause."""
    wave, truth = first_minutes(options)
    whole = [(w.start, w.end) for w in windows_of(pieces(wave))]
    rng = np.random.default_rng(options.seed)
    shifts, lost = [], 0
    for _ in range(options.trials):
        number = rng.integers(len(truth) - 1)
        place = int(rng.uniform(truth[number][1] + 0.3 * RATE, truth[number + 1][0] - 0.3 * RATE))
        for low, high in ((max(0, place - 60 * RATE), place), (place, place + 60 * RATE)):
            found = [(w.start + low, w.end + low) for w in windows_of(pieces(wave[low:high]))]
            # The other end of a piece may lie in a word: half a minute of it does not count.
            near = [w for w in whole if place - 30 * RATE < w[0] < w[1] < place + 30 * RATE]
            for start, end in (w for w in near if low <= w[0] and w[1] <= high):
                same = [w for w in found if w[0] < end and w[1] > start]
                if len(same) == 1:
                    shifts.append(max(abs(same[0][0] - start), abs(same[0][1] - end)) / RATE)
                else:
                    lost += 1
    moved = np.array(shifts)
    print(
        f"{len(whole)} windows, {options.trials} cuts: of {len(moved) + lost} windows within half a minute of a cut "
        f"{(moved == 0).sum()} are the same to the sample, {lost} are lost or split, {(moved > 0.04).sum()} have an "
        f"edge more than 40 ms away (at most {1000 * moved.max():.0f} ms)"
    )


def fixed(options: argparse.Namespace) -> None:
    """Compare windows at pauses with pieces of 30 s, and with each clip on its own."""
    wave, truth = first_minutes(options)
    model = qwen_audio.load()
    long = [wave[at : at + 30 * RATE] for at in range(0, len(wave), 30 * RATE)]
    clips = [wave[start:end] for start, end, _ in truth]
    ways: dict[str, Callable[[], str]] = {
        "windows at pauses": lambda: model.transcribe((wave, RATE)).text,
        "pieces of 30 s, 8 at a time": lambda: spoken(model, long, 8),
        "pieces of 30 s, one by one": lambda: spoken(model, long, 1),
        "clips as they were put in, 8 at a time": lambda: spoken(model, clips, 8),
    }
    said = " ".join(text.lower() for *_, text in truth)
    taken: dict[str, float] = {}
    for name, way in ways.items():
        way()  # the first time is slower
        began = time.perf_counter()
        text = way()
        taken[name] = time.perf_counter() - began
        print(
            f"{name}: {taken[name] / taken['windows at pauses']:.2f} times as long, "
            f"word error rate {jiwer.wer(said, text.lower()):.3f}",
            flush=True,
        )


def spoken(model: qwen_audio.QwenAudio, waves: list[np.ndarray], at_once: int) -> str:
    """The text of all the waves."""
    outputs = model.run([Request("asr", [one]) for one in waves], at_once)
    return " ".join(output.parsed.text for output in outputs)


def pieces(wave: np.ndarray) -> Iterator[np.ndarray]:
    """The blocks of 5 s that a recording comes in."""
    for at in range(0, len(wave), 5 * RATE):
        yield wave[at : at + 5 * RATE]


def kill(options: argparse.Namespace) -> None:
    """Kill a run twice with signal 9, start it again, and compare its bytes with an uninterrupted run."""
    wave, _ = first_minutes(options)
    source, target = options.out / "part.wav", options.out / "part.json"
    soundfile.write(source, wave, RATE, subtype="PCM_16")
    for old in (target, target.with_name("part.json.part")):
        old.unlink(missing_ok=True)
    subprocess.run(command(source, target), check=True, capture_output=True)
    uninterrupted = target.read_bytes()
    target.unlink()
    journal = target.with_name("part.json.part")
    lines = 1
    for _ in range(2):
        process = subprocess.Popen(command(source, target), stderr=subprocess.DEVNULL)
        while process.poll() is None:
            count = journal.read_bytes().count(b"\n") if journal.is_file() else 0
            if count > lines + 8:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                lines = count
                print(f"killed after {count - 1} windows; output there: {target.exists()}")
        if process.returncode == 0:
            print("it was finished before it could be killed: take more --minutes")
    subprocess.run(command(source, target), check=True, capture_output=True)
    print(f"the same bytes: {target.read_bytes() == uninterrupted}; journal left: {journal.exists()}")


def invented(options: argparse.Namespace) -> None:
    """Share of clips without speech that get text, with the detector and without it."""
    rng = np.random.default_rng(options.seed)
    sets: dict[str, list[np.ndarray]] = {"silence": [np.zeros(5 * RATE, np.float32)]}
    sets["noise"] = [coloured(rng, power, level) for power in (0, 1, 2) for level in (0.001, 0.01, 0.1, 0.2)]
    if options.corpus:
        for source in OTHER:
            paths = sorted({row["path"] for row in rows(options.corpus) if row["source"] == source})
            sets[source] = [load_audio(options.corpus / path) for path in paths[: options.clips]]
    for kind in WORLD:
        folder = options.out / kind
        if not folder.is_dir():
            synthesize(folder, kind=kind, count=options.clips, held_out=True, seed=3)
        examples = read_manifest(folder / "manifest.jsonl")[: options.clips]
        sets[f"synthetic {kind}"] = [load_audio(example.audio[0].path) for example in examples]
    model = qwen_audio.load()
    for name, waves in sets.items():
        heard = [model.transcribe((wave, RATE)) for wave in waves]
        outputs = model.run([Request("asr", [wave[: 30 * RATE]]) for wave in waves])
        windows = np.mean([bool(list(windows_of([wave]))) for wave in waves])
        with_text = np.mean([bool(result.text) for result in heard])
        without = np.mean([bool(output.parsed.text) for output in outputs])
        spoken = np.mean([bool(o.parsed.text) and (o.language or "unknown") != "unknown" for o in outputs])
        print(
            f"{name}: {len(waves)} clips, speech found in {windows:.2f}, text in {with_text:.2f}; without detector "
            f"text in {without:.2f}, without it but only where the model names a language {spoken:.2f}",
            flush=True,
        )


def lost(options: argparse.Namespace) -> None:
    """Clips of speech in which the detector finds none, and word error with it and without."""
    if not options.corpus:
        raise SystemExit("lost needs --corpus")
    model = qwen_audio.load()
    found: dict[str, list[dict]] = {}
    for row in rows(options.corpus):
        if row["task"] == "asr":
            found.setdefault(row["source"], []).append(row)
    for source, clips in found.items():
        waves = [load_audio(options.corpus / row["path"]) for row in clips]
        said = [row["text"].lower() for row in clips]
        heard = [model.transcribe((wave, RATE)).text.lower() for wave in waves]
        whole = [spoken(model, [wave], 1).lower() for wave in waves]
        without = sum(not list(windows_of([wave])) for wave in waves)
        print(
            f"{source}: {without} of {len(clips)} clips without a window; word error {jiwer.wer(said, heard):.3f}, "
            f"given whole {jiwer.wer(said, whole):.3f}",
            flush=True,
        )


def coloured(rng: np.random.Generator, power: int, level: float) -> np.ndarray:
    """10 s of noise whose power falls with frequency to the given power."""
    spectrum = np.fft.rfft(rng.standard_normal(10 * RATE))
    wave = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** (power / 2))
    return (level * wave / wave.std()).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "step", choices=("make", "run", "cut", "windows", "fixed", "kill", "invented", "lost")
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the recording and the results")
    parser.add_argument(
        "--corpus", type=Path, help="folder with test.jsonl and valid.jsonl; synthetic speech alone if absent"
    )
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of the recording, for cut, windows, fixed and kill"
    )
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--clips", type=int, default=60, help="at most so many of each kind without speech")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    steps = (make, run, cut, windows, fixed, kill, invented, lost)
    {step.__name__: step for step in steps}[options.step](options)


if __name__ == "__main__":
    main()
