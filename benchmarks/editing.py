"""Remove a word from recordings of spoken digits and listen again: is it gone, is the rest still there?

    python benchmarks/editing.py --corpus /path/to/corpus      # test.jsonl with rows of the task word_timestamps

For each recording one word that the model hears exactly once is removed. Printed: how often the edited recording is
transcribed without the word, and as the rest exactly; and, where the true times are known, how much of the true word is
left and how much of other words was lost.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import qwen_audio
from qwen_audio.data.manifest import read_manifest
from qwen_audio.editing import edit
from qwen_audio.text import spoken_form

SEED = 0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--source", default="fsdd_seq", help="rows of the manifest with this source")
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    model, draw = qwen_audio.load(options.model), random.Random(SEED)
    rows = [
        row
        for row in read_manifest(options.corpus / "test.jsonl")
        if row.source == options.source and row.task == "word_timestamps"
    ]
    gone = exact = tried = known = 0
    left: list[float] = []
    lost: list[float] = []
    for row in rows:
        path = row.audio[0].path
        heard = _words(model, path)
        once = [word for word in heard if heard.count(word) == 1]
        if not once:
            continue
        word = draw.choice(once)
        done = edit(model, path, f'remove the word "{word}"')
        after = _words(model, done.wave)
        tried += 1
        gone += word not in after
        exact += after == [name for name in heard if name != word]
        truth = row.words or []
        if sum(spoken_form(true.word) == word for true in truth) == 1:
            known += 1
            for true in truth:
                cut = sum(max(0.0, min(e.end, true.end) - max(e.start, true.start)) for e in done.edits)
                if spoken_form(true.word) == word:
                    left.append(1 - cut / (true.end - true.start))
                else:
                    lost.append(cut)
    print(f"| recordings with a word heard once | {tried} of {len(rows)} |\n|---|---|")
    print(f"| word no longer heard | {gone} ({100 * gone / tried:.0f} %) |")
    print(f"| all other words heard as before, and nothing else | {exact} ({100 * exact / tried:.0f} %) |")
    print(
        f"| of the true word left, on average (word is really there: {known}) | {100 * sum(left) / known:.1f} % |"
    )
    print(f"| of all other words lost, on average a recording | {1000 * sum(lost) / known:.0f} ms |")


def _words(model: qwen_audio.api.QwenAudio, audio: object) -> list[str]:
    heard = model.transcribe(audio, word_timestamps=True).words or []  # type: ignore[arg-type]
    return [spoken_form(word.word) for word in heard]


if __name__ == "__main__":
    main()
