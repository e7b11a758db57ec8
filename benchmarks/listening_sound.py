"""Sounds and scenes against measurements: times and counts by energy, classes by spectrum, noise by its power."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from listening_row import Row
from listening_tools import bursts, drawn, guessed_without_audio, named_rightly, percent

from qwen_audio.data.augment import Augment, active_power
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.synthetic.sounds.captions import TIMES
from qwen_audio.synthetic.sounds.questions import NUMBERS, ask
from qwen_audio.synthetic.sounds.scenes import SceneGenerator
from qwen_audio.synthetic.sounds.stories import Teller


def _quiet(sample: Sample) -> bool:
    return "snr_db" not in sample.example.meta


def _times(count: int, seed: int) -> list[Row]:
    """Onset and end of the only event of a clip without noise, by the first and last energy."""
    generator, rng = SceneGenerator({"event_detection": 1.0}), np.random.default_rng(seed)
    onsets, ends = [], []
    while len(onsets) < count:
        sample = generator.sample(rng)
        spans = sample.example.spans or []
        if len(spans) == 1 and _quiet(sample):
            heard = bursts(sample.waves[0], 99.0, -36)
            onsets.append(abs(heard[0][0] - spans[0].start))
            if "reverberation_s" not in sample.example.meta:
                ends.append(abs(heard[-1][1] - spans[0].end))
    rows = []
    for what, errors in (("onset", onsets), ("end (no room)", ends)):
        middle, worst = 1000 * np.percentile(errors, [50, 95])
        said = f"median {middle:.0f} ms, 95 % within {worst:.0f} ms"
        rows.append(Row("event_detection", f"{what} of single events by energy", said, len(errors)))
    return rows


def _counts(count: int, seed: int) -> list[Row]:
    """Counts of a sound, in captions and questions, against bursts of energy."""
    rows = []
    for task, words in (("audio_caption", TIMES), ("audio_qa", NUMBERS)):
        generator, rng = SceneGenerator({task: 1.0}), np.random.default_rng(seed)
        right: list[bool] = []
        while len(right) < count // 2:
            sample = generator.sample(rng)
            example = sample.example
            if example.meta.get("shape") != "count" or not _quiet(sample):
                continue
            said = [k + 1 for k, word in enumerate(words) if f" {word} " in f" {example.text.rstrip('.')} "]
            if said and example.meta.get("kind", "count") == "count":
                # A room fills the pauses: only frames within 20 dB of the loudest count.
                right.append(len(bursts(sample.waves[0], 0.25, -20)) == said[0])
        rows.append(Row(task, "number of single sounds by bursts of energy", percent(right), len(right)))
    return rows


def _noise(count: int, seed: int) -> Row:
    """The signal-to-noise ratio that a channel records, against the power of the noise it added."""
    off = {field.name: 0.0 for field in fields(Augment) if not field.name.endswith("_range")}
    channel, rng, errors = Augment(**{**off, "noise": 1.0}), np.random.default_rng(seed), []
    for sample in drawn("asr", count, seed):
        wave = sample.waves[0]
        noisy, facts = channel.distort(wave, rng)
        if np.abs(noisy).max() < 1:  # else it was scaled as a whole
            measured = 10 * np.log10(active_power(wave) / np.mean((noisy - wave) ** 2))
            errors.append(abs(measured - facts["snr_db"]))
    said = f"95 % within {np.percentile(errors, 95):.2f} dB"
    return Row("asr", "SNR noted by `--augment` against the power added", said, len(errors))


def rows(count: int, seed: int) -> list[Row]:
    """The rows of the sound tasks."""
    found = [_noise(count // 2, seed), *_times(count, seed), *_counts(count, seed)]
    for task in ("sound_event", "acoustic_scene", "vocal_sound"):
        test = drawn(task, count, seed, held_out=True)
        agreement = named_rightly(drawn(task, 3 * count, seed), test)
        what = {
            "sound_event": "class by linear discriminants on band levels",
            "acoustic_scene": "the same, at places never heard",
            "vocal_sound": "the same, of persons never heard",
        }[task]
        found.append(Row(task, what, agreement, count))
    teller, rng = Teller(), np.random.default_rng(seed)
    asked = [ask(rng, teller)[0] for _ in range(20 * count)]
    examples = [_as_example(one.question, one.answer, one.choices) for one in asked]
    guess = guessed_without_audio(examples)
    found.append(Row("audio_qa", "answers guessed from the words alone", guess, len(asked) // 2))
    return found


def _as_example(question: str, answer: str, choices: list[str]) -> Example:
    return Example(id="asked", task="audio_qa", audio=[], text=answer, question=question, choices=choices)
