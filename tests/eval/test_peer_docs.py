"""The code of docs/peers.md runs as it stands there, where it needs no model that is not here."""

import re
import shutil
from pathlib import Path

import pytest
from paths import ROOT

import qwen_audio
from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.eval.systems import openai_api
from qwen_audio.eval.systems.transformers_models import FAMILIES

PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
CLIPS = Path(qwen_audio.__file__).parent / "demo_clips"


def block(part: str) -> str:
    (found,) = [code for code in BLOCKS if part in code]
    return found


def test_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for split, clips in (("test", ["words", "scene"]), ("train", ["scene", "note"])):
        folder = tmp_path / "out" / "peers" / split
        folder.mkdir(parents=True)
        rows = []
        for number, name in enumerate(clips):
            copy = shutil.copy(CLIPS / f"{name}.flac", folder)
            audio = [AudioRef(path=str(copy))]
            rows.append(Example(id=f"{split}{number}", task="sound_event", audio=audio, text="x"))
        write_manifest(folder / "manifest.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    exec(block("find_leaks"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 [{") and "test1: the same samples as train0" in first and second == "1"


def test_addresses() -> None:
    names: dict[str, object] = {}
    exec(block("OpenAISystem"), names)
    assert names["system"].facts()["model"] == "whisper-large-v3"
    listed = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", PAGE, flags=re.M))
    assert listed == openai_api.OPTIONS
    (shown,) = re.findall(r"#(\S+\?asr=chat\S*)`", PAGE)
    assert openai_api.OpenAISystem(f"http://host/v1#{shown}").facts()["asr"] == "chat"


def test_families() -> None:
    with pytest.raises(ValueError, match=r"models/whisper-small has no config\.json"):
        exec(block("TransformersSystem"), {})
    table = PAGE.split("| family |")[1].split("\n\n")[0]
    assert table.count("\n| ") == len(FAMILIES)
