"""CoVoST 2: speech of Common Voice 4 with translations, in the seven directions of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_tsv

DIRECTIONS = (
    ("en", "de"),
    ("de", "en"),
    ("en", "zh-CN"),
    ("zh-CN", "en"),
    ("es", "en"),
    ("fr", "en"),
    ("it", "en"),
)
SPLITS = ("test", "dev", "train")
# As the corpus's own script takes them from the column `split`.
_PARTS = {"test": ("test",), "dev": ("dev",), "train": ("train", "train_covost")}


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """SOURCE-TARGET-SPLIT for each table `covost_v2.SOURCE_TARGET[.SPLIT].tsv` and the clips of its language."""
    there: dict[str, Rows] = {}
    lost: list[str] = []
    voices = [folder, *sorted(path for path in folder.glob("cv-corpus*") if path.is_dir())]
    for source, target in DIRECTIONS:
        pair = f"{source}_{target}"
        places: list[Path | None] = [
            first_folder(folder, name)
            for name in (".", source, pair, "covost2", "covost", f"{source}/{pair}")
        ]
        roots = [first_folder(root, source) for root in voices] + [*voices]
        clips = next(
            (root / "clips" for root in roots if root is not None and (root / "clips").is_dir()), None
        )
        for split in SPLITS:
            table = first_file(places, f"covost_v2.{pair}.{split}.tsv", f"covost_v2.{pair}.tsv")
            if table is not None and clips is None:
                lost.append(f"{source}/clips")
            elif table is not None and clips is not None:
                name = f"{_code(source)}-{_code(target)}-{split}"
                there[name] = partial(_rows, table, clips, source, target, split)
    if lost and not there:
        raise ValueError(f"{folder} has translations but no clips of Common Voice: looked for {lost[0]}")
    return there


def _code(language: str) -> str:
    return language.partition("-")[0]


def _rows(table: Path, clips: Path, source: str, target: str, split: str, notes: Notes) -> Iterator[Row]:
    whole = not table.name.endswith(f".{split}.tsv")  # all splits, told apart by a column
    for line in read_tsv(table, ("path", "translation", "split") if whole else ("path", "translation")):
        if whole and line["split"] not in _PARTS[split]:
            continue
        name, text = Path(line["path"]).stem, " ".join((line["translation"] or "").split())
        if not text:
            notes.leave_out("it has no translation", name)
            continue
        direction = f"covost2-{_code(source)}-{_code(target)}"
        row = {
            "id": f"{direction}-{name}",
            "source": direction,
            "path": clips / f"{name}.mp3",
            "task": "speech_translation",
            "language": _code(source),
            "target_language": _code(target),
            "text": text,
            "split": split,
        }
        if line.get("client_id"):
            row["speaker"] = f"commonvoice:{line['client_id']}"
        if line.get("sentence"):
            row["meta"] = {"transcript": line["sentence"]}
        yield row


RECIPE = Recipe(
    "covost2",
    "CoVoST 2",
    "clips: Common Voice, version 4; tables: the GitHub repository facebookresearch/covost",
    "CC0-1.0",
    "permissive",
    "covost_v2.en_de.tsv (or covost_v2.en_de.test.tsv), in it or in its folder en, and the clips in en/clips",
    splits,
)
