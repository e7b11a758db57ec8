"""Small corpora in the true layouts of the public ones, with generated audio, for the tests of the recipes."""

from __future__ import annotations

import json
from pathlib import Path

from dummies import chirp, encode


def sound(path: Path, seconds: float = 0.5) -> Path:
    """A recording in the container that the ending of its name says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 8000 if path.suffix != ".mp4" else 16_000
    path.write_bytes(encode(chirp(seconds, rate), rate, path.suffix[1:]))
    return path


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    """A text file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def librispeech(root: Path) -> Path:
    """Two chapters of test-clean, one with the public alignments merged in, and one of dev-other."""
    chapter = root / "LibriSpeech" / "test-clean" / "84" / "121123"
    text(chapter / "84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n")
    sound(chapter / "84-121123-0000.flac", 2.09)
    sound(chapter / "84-121123-0001.flac", 0.8)
    line = '84-121123-0000 ",GO,,DO,YOU,HEAR," "0.490,0.890,1.270,1.380,1.490,1.890,2.09"\n'
    text(chapter / "84-121123.alignment.txt", line)
    other = root / "LibriSpeech" / "dev-other" / "1" / "2"
    text(other / "1-2.trans.txt", "1-2-0000 IT'S LATE\n")
    sound(other / "1-2-0000.flac")
    return root


def aishell1(root: Path) -> Path:
    """One utterance each of test and train, and one in test without a transcript."""
    data = root / "data_aishell"
    transcripts = "BAC009S0764W0121 甚至 出现 交易\nBAC009S0002W0122 而 对 楼市\n"
    text(data / "transcript" / "aishell_transcript_v0.8.txt", transcripts)
    sound(data / "wav" / "test" / "S0764" / "BAC009S0764W0121.wav", 1.5)
    sound(data / "wav" / "test" / "S0764" / "BAC009S0764W0999.wav")
    sound(data / "wav" / "train" / "S0002" / "BAC009S0002W0122.wav")
    return root


def aishell2(root: Path) -> Path:
    """The three recordings of one test utterance, as the evaluation sets are packed, and iOS training data."""
    for channel in ("Android", "IOS", "Mic"):
        folder = root / "AISHELL-2" / channel / "test"
        text(folder / "trans.txt", "IT0011W0001\t换一首歌\n")
        sound(folder / "wav" / "T0011" / "IT0011W0001.wav")
    train = root / "AISHELL-2" / "IOS" / "data"
    text(train / "trans.txt", "IC0001W0061\t听流年\n")
    sound(train / "wav" / "C0001" / "IC0001W0061.wav")
    return root


def covost2(root: Path) -> Path:
    """English to German as published (one table), Chinese to English as the corpus's script cuts it."""
    head, tab = "path\ttranslation\tsplit\n", "common_voice_en_3.mp3\tEin\\\tTab\ttest\n"
    rows = 'common_voice_en_1.mp3\tGuten "Tag"!\ttest\ncommon_voice_en_2.mp3\tJa.\ttrain_covost\n' + tab
    rows += "common_voice_en_4.mp3\t\ttest\n"
    text(root / "en" / "covost_v2.en_de.tsv", head + rows)
    for number in (1, 2, 3, 4):
        sound(root / "en" / "clips" / f"common_voice_en_{number}.mp3")
    line = "path\tsentence\ttranslation\tclient_id\ncommon_voice_zh-CN_7.mp3\t你好\tHello.\tab12\n"
    text(root / "covost_v2.zh-CN_en.test.tsv", line)
    sound(root / "cv-corpus-4-2019-12-10" / "zh-CN" / "clips" / "common_voice_zh-CN_7.mp3")
    return root


def clotho(root: Path) -> Path:
    """Two clips of the evaluation split, one with commas and a space in its row, and one of development."""
    head = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
    rows = 'Rain 1.wav,"Rain falls, hard.",b,c,d,e\nwind.wav ,Wind blows.,g,h,i,j\n'
    text(root / "clotho_captions_evaluation.csv", head + rows)
    text(root / "clotho_captions_development.csv", head + "dog.wav,A dog barks.,l,m,n,o\n")
    sound(root / "evaluation" / "Rain 1.wav")
    sound(root / "evaluation" / "wind.wav")
    sound(root / "development" / "dog.wav")
    return root


def clothoaqa(root: Path) -> Path:
    """One question with the answers of three people."""
    rows = "".join(f"rain.wav,Is it raining?,{answer},maybe\n" for answer in ("yes", "yes", "no"))
    text(root / "clotho_aqa_test.csv", "file_name,QuestionText,answer,confidence\n" + rows)
    sound(root / "audio_files" / "rain.wav")
    return root


def cochlscene(root: Path) -> Path:
    """A clip each of two splits, and the hidden file of a copied folder."""
    sound(root / "CochlScene" / "Test" / "Bus" / "Bus_user0330_14875732_000.wav")
    sound(root / "CochlScene" / "Train" / "CrowdedIndoor" / "CrowdedIndoor_user0001_1_000.wav")
    text(root / "CochlScene" / "Test" / "Bus" / "._Bus_user0330_14875732_000.wav", "x")
    return root


def tut2017(root: Path) -> Path:
    """The evaluation set with its list of scenes, the development set with meta.txt."""
    evaluation = root / "TUT-acoustic-scenes-2017-evaluation"
    text(
        evaluation / "evaluation_setup" / "evaluate.txt",
        "audio/1.wav\tcafe/restaurant\naudio/2.wav\tcity_center\n",
    )
    sound(evaluation / "audio" / "1.wav")
    sound(evaluation / "audio" / "2.wav")
    development = root / "TUT-acoustic-scenes-2017-development"
    text(development / "meta.txt", "audio/b020_90_100.wav\tbeach\tb020\n")
    sound(development / "audio" / "b020_90_100.wav")
    return root


def meld(root: Path) -> Path:
    """Three utterances of test, one of whose clips is absent; the table in Windows-1252, as it is in the archive."""
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    rows = '1,It’s me!,Mark,joy,positive,0,0,3,19,a,b\n2,"No, no.",Rachel,anger,negative,0,1,3,19,a,b\n'
    text(
        root / "MELD.Raw" / "test_sent_emo.csv",
        head + rows + "3,Hm.,Mark,neutral,neutral,1,0,3,19,a,b\n",
        "cp1252",
    )
    clips = root / "MELD.Raw" / "output_repeated_splits_test"
    sound(clips / "dia0_utt0.mp4")
    sound(clips / "dia0_utt1.mp4")
    return root


def vocalsound(root: Path) -> Path:
    """Two clips of the test list, whose folder is that of its authors."""
    names = ("f0003_0_throatclearing.wav", "m0012_0_cough.wav")
    entries = [{"wav": f"/data/somewhere/{name}", "labels": "/m/0dl9sf8"} for name in names]
    text(root / "datafiles" / "te.json", json.dumps({"data": entries}))
    for name in names:
        sound(root / "audio_16k" / name)
    return root


def nsynth(root: Path) -> Path:
    """One note of the test set."""
    note = {
        "note_str": "bass_synthetic_068-049-025", "pitch": 49, "velocity": 25, "instrument_family_str": "bass",
        "instrument_source_str": "synthetic", "qualities_str": ["dark", "fast_decay"], "sample_rate": 16000,
    }  # fmt: skip
    text(root / "nsynth-test" / "examples.json", json.dumps({note["note_str"]: note}))
    sound(root / "nsynth-test" / "audio" / f"{note['note_str']}.wav")
    return root


def musicavqa(root: Path) -> Path:
    """Two questions about the sound and one about the picture; a recording that is longer than the model hears."""
    louder = "Is the <Object> louder than the <Object>?"
    entries = [
        _asked("00000093", 12, "Audio", "Counting", "How many instruments were heard?", [], "one"),
        _asked("00000823", 13, "Audio", "Comparative", louder, ["clarinet", "acoustic_guitar"], "yes"),
        _asked("00000823", 14, "Visual", "Location", "Where is it?", [], "left"),
    ]
    text(root / "data" / "json_update" / "avqa-test.json", json.dumps(entries))
    sound(root / "data" / "audio" / "00000093.wav", 31.0)
    sound(root / "data" / "video" / "00000823.mp4")
    return root


def _asked(video: str, number: int, kind: str, detail: str, question: str, values: list, answer: str) -> dict:
    return {
        "video_id": video, "question_id": number, "type": json.dumps([kind, detail]), "question_content": question,
        "templ_values": json.dumps(values), "question_deleted": 0, "anser": answer,
    }  # fmt: skip


CORPORA = {
    one.__name__: one
    for one in (librispeech, aishell1, aishell2, covost2, clotho, clothoaqa, cochlscene, tut2017, meld, vocalsound,
                nsynth, musicavqa)
}  # fmt: skip
