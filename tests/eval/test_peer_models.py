"""Other models of a folder as systems under test: tiny ones of random weights, made here, loaded as real ones are."""

from __future__ import annotations

import json
from pathlib import Path

import dummies
import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from qwen_audio.data.manifest import AudioRef, Example
from qwen_audio.eval.systems.base import Item
from qwen_audio.eval.systems.plain import question_of, raw_answer, raw_words
from qwen_audio.eval.systems.transformers_models import TransformersSystem
from qwen_audio.format import tasks
from qwen_audio.format.timestamps import Word, parse_words

BYTES = {symbol: number for number, symbol in enumerate(sorted(ByteLevel.alphabet()))}
END = "<|endoftext|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>\n{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WAVES = [dummies.chirp(0.8), dummies.noise(2.3), dummies.chirp(1.4, low=900.0), dummies.noise(0.5, seed=4)]
SIZES = {
    "init_std": 0.3,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
}


def example(task: str = "asr", **fields: object) -> Example:
    return Example(
        id="a", task=task, audio=[AudioRef(path="a.wav")], text=str(fields.pop("text", "x")), **fields
    )


def items(task: str = "asr", limit: int | None = 20, **fields: object) -> list[Item]:
    return [Item(example(task, **fields), [wave], [], limit) for wave in WAVES]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    tokenizer = WhisperTokenizer(vocab=BYTES, merges=[])
    languages = ["en", "zh", "de"]
    names = [
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in languages),
        "<|translate|>",
        "<|transcribe|>",
    ]
    names += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    tokenizer.add_tokens([f"<|{tick * 0.02:.2f}|>" for tick in range(1501)])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (END, *names)}
    torch.manual_seed(0)
    start = ids["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer), decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_target_positions=64, pad_token_id=ids[END], bos_token_id=ids[END], eos_token_id=ids[END],
        decoder_start_token_id=start, median_filter_width=3, **SIZES,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    # what can be printed is more probable than all else, so that texts differ where bytes do
    rare = [number for symbol, number in BYTES.items() if not "!" <= symbol <= "~"]
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[[*rare, *range(ids["<|notimestamps|>"], len(tokenizer))]] *= (
            0.02
        )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start, pad_token_id=ids[END], bos_token_id=ids[END], eos_token_id=ids[END],
        max_length=40, is_multilingual=True, no_timestamps_token_id=ids["<|notimestamps|>"],
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in languages},
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        alignment_heads=[[0, 0], [1, 1]], max_initial_timestamp_index=50, suppress_tokens=[],
        begin_suppress_tokens=[ids[END]], prev_sot_token_id=ids["<|startofprev|>"], return_timestamps=False,
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen2_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen2_audio")
    tokenizer = Qwen2Tokenizer(vocab=BYTES, merges=[])
    names = [END, "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    torch.manual_seed(1)
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(
            audio_config={"num_mel_bins": 128, "encoder_ffn_dim": 32, **SIZES},
            text_config={
                "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64,
                "num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.3,
            },
            audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        )
    )  # fmt: skip
    with torch.no_grad():
        model.model.multi_modal_projector.linear.weight.mul_(20)
    ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", END)]
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=5.0,
        top_k=0,
        repetition_penalty=1.5,
        eos_token_id=ends,
        pad_token_id=ends[1],
    )
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128)
    Qwen2AudioProcessor(extractor, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJ"]
    (folder / "vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    torch.manual_seed(2)
    config = Wav2Vec2Config(
        vocab_size=len(symbols), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16, 16), conv_stride=(20, 16), conv_kernel=(20, 16), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, pad_token_id=0, initializer_range=1.0,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    ).save_pretrained(folder)
    return folder


def test_whisper_answers_the_same_in_any_batch(whisper: Path) -> None:
    system = TransformersSystem(whisper, "cpu")
    assert system.facts()["family"] == "whisper" and len(system.facts()["weights"]) == 16
    assert [system.supports(task) for task in ("asr", "speech_translation", "word_timestamps")] == [True] * 3
    assert not system.supports("audio_caption") and not system.supports("sound_event")
    asked = items(language="en")
    together = system.answer(asked)
    assert together == [system.answer([item])[0] for item in asked]
    assert len({reply.raw for reply in together}) >= 3  # it listens
    assert all(reply.raw and "<|" not in reply.raw for reply in together)
    german, unknown = system.answer(items(language="de")), system.answer(items(language="sw"))
    assert german != together  # the language is told
    assert all(reply.error is None for reply in unknown)  # or found out


def test_whisper_reads_all_that_the_model_would_say(whisper: Path) -> None:
    system = TransformersSystem(whisper, "cpu")
    features = system.processor.feature_extractor(WAVES[0], sampling_rate=16_000, return_tensors="pt")
    ids = system.model.generate(features.input_features, language="de", task="translate", max_new_tokens=20)
    wanted = system.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    translation = items("speech_translation", language="de", target_language="en")[:1]
    assert system.answer(translation)[0].raw == wanted
    (refused,) = system.answer(items("speech_translation", language="de", target_language="zh")[:1])
    assert refused.error == f"{whisper.name} translates into English, not zh"


def test_whisper_word_times_can_be_parsed(whisper: Path) -> None:
    system = TransformersSystem(whisper, "cpu")
    words = items("word_timestamps", language="en", words=[["x", 0.0, 0.1]])
    replies = system.answer(words)
    assert replies == [system.answer([item])[0] for item in words]
    for reply, wave in zip(replies, WAVES, strict=True):
        parsed = tasks.parse("word_timestamps", reply.raw)
        assert reply.error is None and parsed.words and not parsed.problems
        assert all(0 <= word.start <= word.end <= len(wave) / 16_000 + 0.01 for word in parsed.words)


def test_a_chat_model_is_asked_in_words_and_greedily(qwen2_audio: Path) -> None:
    system = TransformersSystem(qwen2_audio, "cpu")
    assert system.family == "chat"
    assert (
        system.supports("audio_caption") and system.supports("asr") and not system.supports("event_detection")
    )
    asked = [
        Item(example("sound_event", choices=["rain", "dog"], text="dog"), [WAVES[0]], [], 12),
        Item(example("audio_qa", question="Who?"), [WAVES[1], WAVES[2]], [], 12),
        Item(example("audio_caption"), [WAVES[3]], [], 12),
        Item(example("audio_caption"), [WAVES[1]], [], 12),
    ]
    together = system.answer(asked)
    assert together == [system.answer([item])[0] for item in asked] == system.answer(asked)
    assert len({reply.raw for reply in together}) == len(asked)
    other = [Item(item.example, [WAVES[2]], [], 12) for item in asked[2:]]
    assert system.answer(other)[0] == system.answer(other)[1] != together[2]  # it listens
    assert all("cut at 12 tokens" in reply.problems[0] for reply in together if reply.problems)


def test_what_a_chat_model_sees(qwen2_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = TransformersSystem(qwen2_audio, "cpu")
    seen = []
    monkeypatch.setattr(
        system, "_generate", lambda inputs, options: seen.append(inputs) or inputs["input_ids"]
    )
    system.answer([Item(example("sound_event", choices=["rain", "x"]), [WAVES[0]], [], 5)])
    text = system.processor.tokenizer.decode(seen[0]["input_ids"][0])
    assert "Which sound event is heard? Choose from: rain, x. Give the answer alone" in text
    assert text.count("<|AUDIO|>") == int(seen[0]["feature_attention_mask"].sum() // 2 // 2)


def test_ctc_models_transcribe_and_time(wav2vec: Path) -> None:
    system = TransformersSystem(wav2vec, "cpu")
    assert system.family == "ctc" and system.supports("word_timestamps") and not system.supports("audio_qa")
    replies = system.answer(items())
    assert all(reply.raw for reply in replies) and len({reply.raw for reply in replies}) > 1
    assert replies[::-1] == system.answer(items()[::-1])
    for text, timed in zip(
        replies, system.answer(items("word_timestamps", words=[["x", 0, 1]])), strict=True
    ):
        parsed = tasks.parse("word_timestamps", timed.raw)
        assert [word.word for word in parsed.words] == text.raw.split()


def test_folders_that_cannot_be_used(tmp_path: Path, whisper: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        TransformersSystem(tmp_path / "nothing")
    config = tmp_path / "config.json"
    config.write_text("{}")
    with pytest.raises(ValueError, match="no weights in safetensors"):
        TransformersSystem(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    for content in (
        "{}",
        "{broken",
        '{"model_type": "nothing"}',
        '{"model_type": "bert"}',
        '{"model_type": "qwen_audio"}',
    ):
        config.write_text(content)
        with pytest.raises(ValueError, match="is no speech or audio model that transformers can load"):
            TransformersSystem(tmp_path, "cpu")
    for path in whisper.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="is no speech or audio model"):
        TransformersSystem(tmp_path, "cpu")


def test_questions_and_answers_in_plain_text() -> None:
    assert question_of(example()) == "Transcribe the speech. Give the answer alone, without explanation."
    asked = example("audio_qa", question="Which?", choices=["a", "x"])
    assert question_of(asked).startswith("Which? Choose from: a, x. Give")
    assert raw_answer("note_pitch", "It is note 60.") == "<|midi_pitch_60|>"
    assert raw_answer("note_pitch", "It is note 600.") == "It is note 600."
    assert raw_answer("note_pitch", "261.6 Hz") == "261.6 Hz"
    assert tasks.parse("note_pitch", raw_answer("note_pitch", "60")).label == "60"


def test_any_words_become_word_times() -> None:
    words = [Word("b <|en|>", 0.5, 0.2), Word(" ", 0.0, 0.1), Word("a", -0.5, 0.61), Word("c", 29.0, 99.0)]
    raw, problems = raw_words(words, 30.0)
    assert parse_words(raw).words == [Word("a", 0.0, 0.61), Word("b", 0.61, 0.61), Word("c", 29.0, 30.0)]
    assert problems == ("the times of 3 words were cut",)
    assert raw_words([], 1.0) == ("", ())
    assert np.isfinite(parse_words(raw_words([Word("a", 0.1, 0.2)], 0.15)[0]).words[0].end)
