"""Reading of published word alignments in three forms: id of the utterance -> words with times in seconds.

*.alignment.txt   one line an utterance, `ID ",GO,,DO," "0.49,0.89,1.27,1.38"`: words, then where each ends; an empty
                  word is a silence (the alignments of LibriSpeech that are merged into its folders)
*.ctm             one line a word, `ID CHANNEL START DURATION WORD [CONFIDENCE]` (Kaldi, NIST)
*.TextGrid        one file an utterance, named by its id, with an interval tier "words" (Praat; Montreal aligner)
"""

from __future__ import annotations

import re
from pathlib import Path

from qwen_audio.data.recipes.files import read_text
from qwen_audio.format.timestamps import Word

SILENCES = frozenset({"", "<eps>", "<sil>", "sil", "sp", "silence", "<silence>", "SIL", "SP"})

Alignments = dict[str, list[Word]]


def read_below(folder: Path) -> Alignments:
    """The words of every alignment file below a folder, whatever its form; ValueError for a line that is none."""
    found: Alignments = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(".alignment.txt"):
            found.update(read_ends(path))
        elif path.name.lower().endswith(".ctm"):
            found.update(read_ctm(path))
        elif path.name.endswith(".TextGrid"):
            found[path.stem] = read_textgrid(path)
    return found


_ENDS = re.compile(r'(\S+)\s+"(.*)"\s+"(.*)"\s*')


def read_ends(path: Path) -> Alignments:
    """An `.alignment.txt`; ValueError that names file and line."""
    found: Alignments = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        match = _ENDS.fullmatch(line.strip())
        try:
            if match is None:
                raise ValueError
            words, ends = match[2].split(","), [float(end) for end in match[3].split(",")]
            timed = zip(words, [0.0, *ends[:-1]], ends, strict=True)
            found[match[1]] = [Word(word, start, end) for word, start, end in timed if word not in SILENCES]
        except ValueError:
            raise ValueError(
                f'{path} line {number} is no alignment: it should be ID "words" "where they end"'
            ) from None
    return found


def read_ctm(path: Path) -> Alignments:
    """A CTM, its words in order of start; lines that start with ";;" are comments. ValueError as for `read_ends`."""
    found: Alignments = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            name, _, start, duration, word, *_ = line.split()
            begin, end = float(start), round(float(start) + float(duration), 6)
        except ValueError:
            raise ValueError(
                f"{path} line {number} is no line of a CTM: it should be ID CHANNEL START DURATION WORD"
            ) from None
        words = found.setdefault(name, [])
        if word not in SILENCES:
            words.append(Word(word, begin, end))
    return {name: sorted(words, key=lambda word: word.start) for name, words in found.items()}


_TIER = re.compile(r'class = "IntervalTier"\s*name = "(.*?)"(.*?)(?=item \[\d+\]:|\Z)', re.S)
_INTERVAL = re.compile(r'xmin = ([\d.eE+-]+)\s*xmax = ([\d.eE+-]+)\s*text = "((?:[^"]|"")*)"')


def read_textgrid(path: Path) -> list[Word]:
    """The tier "words" of a TextGrid in Praat's long text form; ValueError where it has none."""
    tiers = dict(_TIER.findall(_praat_text(path)))
    name = next((name for name in tiers if name.lower().endswith("words")), None)
    if name is None:
        raise ValueError(f"{path} has no tier 'words' in Praat's long text form: export it again")
    return [
        Word(text.strip().replace('""', '"'), float(start), float(end))
        for start, end, text in _INTERVAL.findall(tiers[name])
        if text.strip() not in SILENCES
    ]


def _praat_text(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # Praat writes UTF-16 where a text is not ASCII
        return content.decode("utf-16")
    return read_text(path)
