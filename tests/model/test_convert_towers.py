"""Conversion of other systems' models: a Whisper gives its own encoder states, a language model its own logits."""

import json
import shutil

import numpy as np
import published_weights
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from qwen_audio.audio.features import log_mel
from qwen_audio.format import tags
from qwen_audio.format.tasks import Segment
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer
from qwen_audio.model.convert import convert, load_published
from qwen_audio.model.loading import CheckpointError, load_checkpoint

pytestmark = pytest.mark.versions

WIDTH = 32


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=WIDTH, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=4 * WIDTH, decoder_ffn_dim=64, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, num_mel_bins=80, init_std=0.3,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).eval()


def openai_file(model, path, **changes):
    """The model as a file of OpenAI's."""
    names = {"self_attn_layer_norm": "attn_ln", "self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key",
             "self_attn.v_proj": "attn.value", "self_attn.out_proj": "attn.out", "final_layer_norm": "mlp_ln",
             "fc1": "mlp.0", "fc2": "mlp.2", "layers": "blocks", "embed_positions.weight": "positional_embedding",
             "encoder.layer_norm": "encoder.ln_post"}  # fmt: skip
    state = {"decoder.token_embedding.weight": torch.zeros(60, WIDTH)}
    for name, tensor in model.model.encoder.state_dict().items():
        new = f"encoder.{name}"
        for ours, theirs in names.items():
            new = new.replace(ours, theirs)
        state[new] = tensor
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": WIDTH, "n_audio_head": 2, "n_audio_layer": 2,
            "n_vocab": 60, "n_text_ctx": 448, "n_text_state": WIDTH, "n_text_head": 2, "n_text_layer": 1}  # fmt: skip
    torch.save({"dims": dims | changes, "model_state_dict": state}, path)
    return path


def whisper_source(model, tmp_path, form):
    if form == "openai":
        return openai_file(model, tmp_path / "whisper.pt")
    (model if form == "whole" else model.model if form == "model" else model.model.encoder).save_pretrained(
        tmp_path / "whisper", max_shard_size="100KB"
    )
    return tmp_path / "whisper"


@pytest.mark.parametrize("form", ["openai", "whole", "model", "encoder"])
def test_a_whisper_gives_its_own_encoder_states(whisper, tmp_path, form):
    convert(whisper_source(whisper, tmp_path, form), tmp_path / "ours", shard_bytes=50_000)
    encoder = AutoModel.from_pretrained(tmp_path / "ours").eval()
    wave = np.random.default_rng(0).standard_normal(480_000).astype(np.float32) * 0.1
    mel = log_mel(wave)[None]
    with torch.no_grad():
        ours = encoder.layer_norm(encoder.encode(mel, torch.tensor([mel.shape[-1]])))
        theirs = whisper.model.encoder(mel).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert theirs.std() > 0.5


def test_other_whispers_are_refused_with_the_reason(whisper, tmp_path):
    openai_file(whisper, tmp_path / "large-v3.pt", n_mels=128)
    with pytest.raises(CheckpointError, match="128 mel bands"):
        convert(tmp_path / "large-v3.pt", tmp_path / "ours")
    openai_file(whisper, tmp_path / "wider.pt", n_audio_layer=3)
    with pytest.raises(CheckpointError, match=r"15 missing .*encoder.blocks.2.mlp.2.bias"):
        convert(tmp_path / "wider.pt", tmp_path / "ours")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="has no dims"):
        convert(tmp_path / "other.pt", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def bpe(style):
    """A tokenizer.json as Qwen2's or Llama-3's, of 260 base tokens."""
    alphabet = list(json.loads(byte_tokenizer().backend_tokenizer.to_str())["model"]["vocab"])
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w")]
    vocab = {token: n for n, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    split = (
        r"\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+|\s+|."
        if style == "llama"
        else r"\p{N}|[^\p{L}\p{N}]?\p{L}+|\s+|."
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if style == "llama":
        specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_end|>"]
    else:
        tokenizer.normalizer = normalizers.NFC()
        specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    return tokenizer


SIZES = {"vocab_size": 272, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 64, "initializer_range": 0.2}  # fmt: skip
MODELS = {
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True, eos_token_id=262),
    "qwen3": Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=False, eos_token_id=260),
    "llama": LlamaConfig(
        **SIZES, eos_token_id=[261, 262], rope_parameters={"rope_type": "default", "rope_theta": 5e5}
    ),
}


def language_model(folder, kind, **save):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(MODELS[kind]).eval()
    model.save_pretrained(folder, **save)
    bpe(kind).save(str(folder / "tokenizer.json"))
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_a_language_model_keeps_its_logits_and_its_split(tmp_path, kind):
    source = language_model(tmp_path / "lm", kind, max_shard_size="50KB")
    convert(tmp_path / "lm", tmp_path / "ours", shard_bytes=100_000)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert type(ours) is type(source) and ours.config.vocab_size == 260 + 3522
    ids = torch.tensor([[5, 259, 77, 258, 0, 120]])
    with torch.no_grad():
        torch.testing.assert_close(
            ours(ids).logits[..., :260], source(ids).logits[..., :260], rtol=0, atol=1e-5
        )
    tokenizer = QwenAudioTokenizer.from_pretrained(tmp_path / "ours")
    for text in ("hello  world 1234", "naïve 今日\n"):
        assert tokenizer.encode_plain(text) == bpe(kind).encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode_plain(text)) == text


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_special_tokens_keep_their_row_or_begin_near_the_mean(tmp_path, kind):
    source = language_model(tmp_path / "lm", kind)
    convert(tmp_path / "lm", tmp_path / "ours", seed=7)
    convert(tmp_path / "lm", tmp_path / "same", seed=7)
    convert(tmp_path / "lm", tmp_path / "other", seed=8)
    ours, same, other = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("ours", "same", "other")
    )
    tokenizer = QwenAudioTokenizer.from_pretrained(tmp_path / "ours")
    old = {"qwen3": {tags.END_OF_TEXT: 260, tags.IM_START: 261, tags.IM_END: 262},
           "llama": {tags.END_OF_TEXT: 261, tags.IM_END: 262}}[kind]  # fmt: skip
    for get in (lambda m: m.get_input_embeddings().weight, lambda m: m.get_output_embeddings().weight):
        rows, before = get(ours), get(source)
        assert torch.equal(rows[:260], before[:260])
        for name, row in old.items():
            assert torch.equal(rows[tokenizer.special_id(name)], before[row]), name
        new = rows[tokenizer.audio_start_id]
        mean, deviation = before[:260].mean(0), before[:260].std(0)
        assert ((new - mean).abs() < 0.06 * deviation).all()
        assert not torch.equal(new, rows[tokenizer.audio_end_id])
        assert torch.equal(rows, get(same)) and not torch.equal(rows, get(other))


def test_a_converted_language_model_converts_to_itself(tmp_path):
    language_model(tmp_path / "lm", "qwen2")
    convert(tmp_path / "lm", tmp_path / "once")
    convert(tmp_path / "once", tmp_path / "twice")
    once, twice = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("once", "twice"))
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))


def test_qwen_7b_gives_the_logits_of_the_published_language_model(tmp_path):
    published_weights.write(tmp_path / "whole", published_weights.state(torch.float32))
    whole, _ = load_published(tmp_path / "whole")
    text = {
        k: v
        for k, v in published_weights.state(torch.float32).items()
        if not k.startswith("transformer.audio.")
    }
    folder = published_weights.write(tmp_path / "qwen", text, shards=2, pickled=True)
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in published_weights.CONFIG.items() if k != "audio"})
    )
    convert(folder, tmp_path / "ours")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert type(ours).__name__ == "QwenAudioTextForCausalLM"
    known = len(published_weights.BASE) + 208  # Qwen-7B has the first 208 special tokens
    ids = torch.arange(90)[None] * 5 % known
    with torch.no_grad():
        wanted = whole(input_ids=ids).logits[..., :known]
        torch.testing.assert_close(ours(ids).logits[..., :known], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_a_whisper_and_a_language_model_make_a_model(whisper, tmp_path, kind):
    source = language_model(tmp_path / "lm", kind)
    audio = whisper_source(whisper, tmp_path, "openai")
    said = convert(audio, tmp_path / "ours", text_model=tmp_path / "lm", seed=3)
    assert "audio_projection" in said and "special tokens" in said
    model, processor = load_checkpoint(tmp_path / "ours", "cpu", torch.float32)
    assert AutoConfig.from_pretrained(tmp_path / "ours").tie_word_embeddings == (kind == "qwen2")
    encoder = model.audio_tower.state_dict()
    for name, tensor in whisper.model.encoder.state_dict().items():
        assert name == "embed_positions.weight" or torch.equal(tensor, encoder[name]), name
    ids = torch.tensor([[5, 259, 77]])
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids).logits[..., :260], source(ids).logits[..., :260], rtol=0, atol=1e-5
        )
    weight = model.audio_projection.weight
    assert 0.5 * 0.2 < weight.std() < 2 * 0.2 and not model.audio_projection.bias.any()
    assert not torch.equal(model.audio_start_embedding, model.audio_end_embedding)
    waves = [[np.random.default_rng(0).standard_normal(8000).astype(np.float32)]]
    loss = model(**processor(waves, [[Segment("hello", False, True)]], "right")).loss
    assert torch.isfinite(loss)


def test_an_encoder_directory_of_ours_can_be_joined_too(whisper, tmp_path):
    language_model(tmp_path / "lm", "llama")
    source = whisper_source(whisper, tmp_path, "openai")
    convert(source, tmp_path / "encoder")
    convert(source, tmp_path / "a", text_model=tmp_path / "lm")
    convert(tmp_path / "encoder", tmp_path / "b", text_model=tmp_path / "lm")
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(ValueError, match="give --text-model"):
        convert(tmp_path / "encoder", tmp_path / "c")
    with pytest.raises(CheckpointError, match="give a language model"):
        convert(source, tmp_path / "c", text_model=tmp_path / "encoder")


def change_tokenizer(folder, change):
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def clash(data):
    data["model"]["vocab"]["<|endoftext|>"] = len(data["model"]["vocab"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["model"].update(byte_fallback=True), "not a byte-level BPE"),
        (lambda data: data.update(decoder=None), "not a byte-level BPE"),
        (lambda data: data.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (clash, r"holds <\|endoftext\|>"),
        (lambda data: data["model"]["vocab"].update({"ll": 300}), "have gaps"),
        (lambda data: data.update(model={"type": "nothing"}), "cannot be read"),
    ],
)
def test_tokenizers_that_are_not_supported_are_refused(tmp_path, change, message):
    language_model(tmp_path / "lm", "llama")
    change_tokenizer(tmp_path / "lm", change)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "lm", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_sentencepiece_model_alone_is_refused_by_name(tmp_path):
    language_model(tmp_path / "lm", "llama")
    (tmp_path / "lm/tokenizer.json").rename(tmp_path / "lm/tokenizer.model")
    with pytest.raises(CheckpointError, match="sentencepiece"):
        convert(tmp_path / "lm", tmp_path / "ours")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"model_type": "bert"}, "no causal language model|do not fit"),
        ({"num_hidden_layers": 3}, "9 missing .*model.layers.2"),
        ({"vocab_size": 100}, "1 misshapen|2 misshapen"),
    ],
)
def test_language_models_that_do_not_fit_are_refused(tmp_path, change, message):
    language_model(tmp_path / "lm", "llama")
    config = json.loads((tmp_path / "lm/config.json").read_text())
    (tmp_path / "lm/config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "lm", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    language_model(tmp_path / "lm", "llama")
    shutil.copy(tmp_path / "lm/tokenizer.json", tmp_path / "tokenizer.json")

    def grow(data):
        data["model"]["vocab"] |= {f"Ġ{n}": 260 + n for n in range(50)}
        data["added_tokens"] = []

    change_tokenizer(tmp_path, grow)
    with pytest.raises(CheckpointError, match="310 base tokens and the embedding 272 rows"):
        convert(tmp_path / "lm", tmp_path / "ours", tokenizer=tmp_path / "tokenizer.json")
