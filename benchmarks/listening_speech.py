"""Measurements of the labels of the spoken tasks by a recogniser, by energy and by pitch.

    python benchmarks/listening_speech.py --count 100      the rows as a Markdown table, with the seed of --seed

The recogniser is pocketsphinx (the extra `dev`), which was trained on recordings of people, independently of the
voices here.  Its grammar is a list of transcripts or of words that includes the right one, and each row says which, so
no language model of English takes part.  It makes many errors on any speech, so a row is a lower bound.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from listening_row import Row
from listening_voice import accuracy, aligned, heard, known, loud, pitches, tremor

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Sample
from qwen_audio.synthetic.speech import tables
from qwen_audio.synthetic.speech.spoken import SpokenGenerator
from qwen_audio.synthetic.speech.transcribed import SpeechGenerator
from qwen_audio.synthetic.speech.voices import EMOTIONS

_OFFERED = 8  # transcripts in the grammar: the right one and those of other examples
_ATTEMPTS = 40  # samples for each wanted example: a task has other languages too


def rows(count: int, seed: int) -> list[Row]:
    """All rows, on about `count` examples each."""
    return [row for measure in MEASURES for row in measure(count, seed)]


def _english(
    task: str, count: int, seed: int, accept: Callable[[Sample], bool] = lambda _: True
) -> list[Sample]:
    """Up to `count` English samples of a task."""
    rng = np.random.default_rng([seed, len(task)])
    source: Any
    if task in ("asr", "word_timestamps"):
        source = SpeechGenerator(tasks={task: 1.0}, kinds={"words": 1.0, "sentence": 1.0, "isolated": 1.0})
    else:
        source = SpokenGenerator({task: 1.0})
    found: list[Sample] = []
    for _ in range(_ATTEMPTS * count):
        sample = source.sample(rng)
        if sample.example.language == "en" and accept(sample):
            found.append(sample)
        if len(found) == count:
            break
    return found


# words, by the recogniser ---------------------------------------------------------------------------------


def _spoken(sample: Sample) -> str:
    """The spoken text of the sample."""
    example = sample.example
    return example.meta.get("transcript") or example.text


def _transcripts(count: int, seed: int) -> list[Row]:
    """Words of transcripts, translations' sources, commands and entities against the recogniser."""
    made = []
    for task in (
        "asr",
        "word_timestamps",
        "speech_translation",
        "dialect_asr",
        "entity_recognition",
        "speech_intent",
    ):
        samples = _english(task, count, seed)
        said = [re.findall(r"[a-z]+", _spoken(sample).lower()) for sample in samples]
        hits, chance, right, total = [], [], 0, 0
        for place, (sample, words) in enumerate(zip(samples, said, strict=True)):
            offered = [said[(place + step) % len(said)] for step in range(_OFFERED)]
            if not known(words):
                continue
            grammar = {" ".join(line) for line in offered if known(line)}
            found = heard(sample.waves[0], sorted(grammar))
            hits.append(found == words)
            chance.append(1 / len(grammar))
            right, total = right + accuracy(words, found), total + len(words)
        measured = f"transcript by pocketsphinx (grammar: one of up to {_OFFERED} transcripts)"
        made.append(
            Row(
                task,
                measured,
                f"{100 * np.mean(hits):.0f} % (chance {100 * np.mean(chance):.0f} %)",
                len(hits),
            )
        )
        made.append(Row(task, "the same, words", f"{100 * right / total:.0f} %", total))
    return made


def _errors(errors: Sequence[float]) -> str:
    middle, worst = 1000 * np.percentile(errors, [50, 90])
    return f"median {middle:.0f} ms, 90 % within {worst:.0f} ms"


def _word_times(count: int, seed: int) -> list[Row]:
    """Starts of words: of all by forced alignment, of words after a pause by energy."""
    samples = _english("word_timestamps", count, seed)
    by_voice, energy = [], []
    for sample in samples:
        words = sample.example.words or []
        found = aligned(sample.waves[0], " ".join(word.word for word in words))
        if len(found) == len(words):
            by_voice += [abs(at - word.start) for word, (_, at) in zip(words, found, strict=True)]
        onsets = np.array([start for start, _ in loud(sample.waves[0], 0.1)])
        for before, word in zip([None, *words], words, strict=False):
            # a stop consonant closes for less than that
            if before is not None and word.start - before.end > 0.12:
                energy.append(float(np.abs(onsets - word.start).min()))
    return [
        Row(
            "word_timestamps",
            "word starts by forced alignment (pocketsphinx)",
            _errors(by_voice),
            len(by_voice),
        ),
        Row("word_timestamps", "starts after a pause by energy", _errors(energy), len(energy)),
    ]


def _keywords(count: int, seed: int) -> list[Row]:
    """Single keywords, the cut-out stretches of timed ones, and the words of whole utterances."""
    alone = _english("keyword_spotting", count, seed, lambda sample: sample.example.words is None)
    inside = _english("keyword_spotting", count, seed, lambda sample: sample.example.words is not None)
    hits = [heard(s.waves[0], tables.KEYWORDS) == [s.example.label] for s in alone]
    cuts, errors = [], []
    for sample in inside:
        words, wave = sample.example.words or [], sample.waves[0]
        for word in words:
            cut = wave[round(word.start * SAMPLE_RATE) : round(word.end * SAMPLE_RATE)]
            cuts.append(heard(cut, tables.KEYWORDS) == [word.word])
        found = aligned(wave, sample.example.meta["transcript"])
        for word in words:
            starts = [at for name, at in found if name == word.word]
            errors += [abs(starts[0] - word.start)] if len(starts) == 1 else []
    chance = f"(chance {100 / len(tables.KEYWORDS):.0f} %)"
    known = f"by pocketsphinx (grammar: one of the {len(tables.KEYWORDS)} keywords)"
    return [
        Row(
            "keyword_spotting", f"single keyword {known}", f"{100 * np.mean(hits):.0f} % {chance}", len(hits)
        ),
        Row(
            "keyword_spotting",
            f"labelled stretch {known}",
            f"{100 * np.mean(cuts):.0f} % {chance}",
            len(cuts),
        ),
        Row(
            "keyword_spotting",
            "keyword starts by forced alignment (pocketsphinx)",
            _errors(errors),
            len(errors),
        ),
    ]


# voices and prosody ---------------------------------------------------------------------------------------


def _median_pitch(wave: np.ndarray) -> float:
    return float(np.median(pitches(wave)))


def _voices(count: int, seed: int) -> list[Row]:
    """Gender, childhood and identity by the median pitch, which does not show age among adults."""
    gender = _english("speaker_gender", count, seed)
    right = [("female" if _median_pitch(s.waves[0]) > 160 else "male") == s.example.label for s in gender]
    age = _english("speaker_age", count, seed)
    child = [(_median_pitch(s.waves[0]) > 268) == (s.example.label == "child") for s in age]
    pairs = _english("speaker_verification", count, seed)
    apart = [abs(float(np.log(_median_pitch(s.waves[0]) / _median_pitch(s.waves[1])))) for s in pairs]
    same = [(far < 0.09) == (s.example.label == "yes") for far, s in zip(apart, pairs, strict=True)]
    return [
        Row(
            "speaker_gender",
            "median pitch above 160 Hz is female",
            f"{100 * np.mean(right):.0f} % (chance 50 %)",
            len(right),
        ),
        Row(
            "speaker_age",
            "median pitch above 268 Hz is a child",
            f"{100 * np.mean(child):.0f} % (chance 56 %)",
            len(child),
        ),
        Row(
            "speaker_verification",
            "pitches nearer than 9 % are one speaker",
            f"{100 * np.mean(same):.0f} % (chance 50 %)",
            len(same),
        ),
    ]


def _prosody(sample: Sample) -> list[float]:
    """Pitch and its spread, rise at the end, tilt, rate, crest, fast tremor, level."""
    wave = sample.waves[0]
    sound = np.flatnonzero(np.abs(wave) > 1e-4)
    wave = wave[sound[0] : sound[-1]]
    pitch = np.log(pitches(wave))
    power, hertz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(wave.size, 1 / SAMPLE_RATE)
    peak, level = float(np.abs(wave).max()), float(np.sqrt((wave**2).mean()))
    tilt = power[hertz > 1500].sum() / power[hertz < 1000].sum()
    rate = len(_spoken(sample)) * SAMPLE_RATE / wave.size
    middle = float(np.median(pitch))
    return [
        middle,
        float(pitch.std()),
        float(pitch[-4:].mean()) - middle,
        *(float(np.log(value)) for value in (tilt, rate, peak / level, tremor(wave), peak)),
    ]


def _emotions(count: int, seed: int) -> list[Row]:
    """Linear discriminants of prosody, each example classified by training on the others."""
    samples = _english("emotion", count, seed)
    x = np.array([_prosody(sample) for sample in samples])
    labels = np.array([EMOTIONS.index(sample.example.label or "") for sample in samples])
    right = 0
    for place in range(len(x)):
        others = np.arange(len(x)) != place
        known = [k for k in range(len(EMOTIONS)) if (others & (labels == k)).any()]
        means = np.stack([x[others & (labels == k)].mean(axis=0) for k in known])
        inside = x[others] - np.stack([means[known.index(label)] for label in labels[others]])
        precision = np.linalg.inv(inside.T @ inside / len(inside) + 1e-4 * np.eye(x.shape[1]))
        away = x[place] - means
        right += known[int(np.argmin(np.einsum("ij,jk,ik->i", away, precision, away)))] == labels[place]
    said = f"{100 * right / len(x):.0f} % (chance {100 / len(EMOTIONS):.0f} %)"
    return [Row("emotion", "prosody, linear discriminants, leave one out", said, len(x))]


# several speakers -----------------------------------------------------------------------------------------


def _turns(count: int, seed: int) -> list[Row]:
    """Starts of turns after a pause by energy; agreement of the pitch of a turn with its speaker's other turns."""
    samples = _english("speaker_diarization", max(count // 4, 4), seed)
    errors, voices = [], []
    for sample in samples:
        spans, wave = sample.example.spans or [], sample.waves[0]
        onsets = np.array([start for start, _ in loud(wave, 0.1)])
        alone = []
        for place, span in enumerate(spans):
            others = [other for other in spans if other is not span]
            if all(other.end < span.start or other.start > span.end for other in others):
                cut = wave[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]
                alone.append((span.label, np.log(_median_pitch(cut))))
                if place and span.start - spans[place - 1].end > 0.15:
                    errors.append(float(np.abs(onsets - span.start).min()))
        for place, (name, pitch) in enumerate(alone):
            rest = alone[:place] + alone[place + 1 :]
            if any(other == name for other, _ in rest) and any(other != name for other, _ in rest):
                nearest = min(rest, key=lambda turn: abs(turn[1] - pitch))
                voices.append(nearest[0] == name)
    said = f"{100 * np.mean(voices):.0f} % (chance about 45 %)"
    return [
        Row("speaker_diarization", "starts of turns after a pause by energy", _errors(errors), len(errors)),
        Row("speaker_diarization", "turn of the nearest pitch is the same speaker's", said, len(voices)),
    ]


def _overlaps(count: int, seed: int) -> list[Row]:
    """The first speaker's words before the second one starts, and the end of the last by energy."""
    samples = _english("overlapped_asr", count // 2, seed)
    starts, ends = [], []
    right = total = chance = 0
    texts = [[(span.text or "").split() for span in s.example.spans or []] for s in samples]
    for place, sample in enumerate(samples):
        spans, wave = sample.example.spans or [], sample.waves[0]
        sound = loud(wave, 99.0)
        starts.append(abs(sound[0][0] - spans[0].start))
        ends.append(abs(sound[-1][1] - max(span.end for span in spans)))
        # which of two conversations, given all their words in any order
        grammar = [word for line in (*texts[place], *texts[(place + 1) % len(texts)]) for word in line]
        found = heard(wave, grammar, repeated=True)
        for line in texts[place]:
            right, total = right + accuracy(line, found), total + len(line)
        for line in texts[(place + 1) % len(texts)]:
            chance += accuracy(line, found)
    others = sum(len(line) for lines in texts for line in lines)
    words = f"{100 * right / total:.0f} % (chance {100 * chance / others:.0f} %)"
    return [
        Row("overlapped_asr", "start of the first speaker by energy", _errors(starts), len(starts)),
        Row("overlapped_asr", "end of the last speaker by energy", _errors(ends), len(ends)),
        Row(
            "overlapped_asr",
            "words by pocketsphinx, all speakers at once (grammar: words of two examples)",
            words,
            len(samples),
        ),
    ]


MEASURES = (_transcripts, _word_times, _keywords, _voices, _emotions, _turns, _overlaps)


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels of the spoken tasks against measurements.")
    parser.add_argument("--count", type=int, default=100, help="examples of a measurement, about")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| task | measurement | agreement | n |\n|---|---|---|---|")
    for measure in MEASURES:
        for row in measure(options.count, options.seed):
            print(f"| `{row.task}` | {row.measurement} | {row.agreement} | {row.n} |", flush=True)


if __name__ == "__main__":
    main()
