"""Sizes of the model, from one that trains on a laptop to the published one, and how to build them."""

from transformers import Qwen2Config

from .configuration_qwen_audio import QwenAudioConfig, QwenAudioEncoderConfig, QwenAudioTextConfig
from .modeling_qwen_audio import QwenAudioForConditionalGeneration

# (encoder width, layers, heads), (LM width, layers, heads, MLP width), embeddings tied?
_SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int, int], bool]] = {
    "test": ((32, 1, 2), (32, 1, 2, 64), True),
    "tiny": ((256, 6, 4), (256, 4, 4, 704), True),
    "small": ((512, 6, 8), (512, 8, 8, 1408), True),
    "base": ((768, 12, 12), (1024, 16, 16, 2816), True),
    "qwen-audio-7b": ((1280, 32, 20), (4096, 32, 32, 11008), False),
}
PRESETS = tuple(_SIZES)
# The published model has more rows than its tokenizer has tokens (155,165); they are never produced.
PUBLISHED_VOCABULARY = 155_947


def _initial_deviation(width: int) -> float:
    """Standard deviation of initial weights: 0.02 suits widths in the thousands; narrower layers need more."""
    return max(0.02, 0.8 * width**-0.5)


def config(
    preset: str,
    vocab_size: int = PUBLISHED_VOCABULARY,
    *,
    audio_start_token_id: int = 155163,
    audio_end_token_id: int = 155164,
    audio_pad_token_id: int = 151851,
    eos_token_id: int = 151643,
) -> QwenAudioConfig:
    """Configuration of a preset for a vocabulary of `vocab_size` rows; the default ids are the published ones.

    Raises:
        ValueError: no such preset.
    """
    if preset not in _SIZES:
        raise ValueError(f"no preset named {preset!r}; there are {', '.join(PRESETS)}")
    (d, layers, heads), (width, lm_layers, lm_heads, mlp), tied = _SIZES[preset]
    # Only the published size has prompts beyond 2,048 tokens, where its language model has rules of its own.
    text_class = QwenAudioTextConfig if preset == "qwen-audio-7b" else Qwen2Config
    return QwenAudioConfig(
        audio_config=QwenAudioEncoderConfig(
            d_model=d,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * d,
            initializer_range=_initial_deviation(d),
        ),
        text_config=text_class(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=lm_layers,
            num_attention_heads=lm_heads,
            num_key_value_heads=lm_heads,
            intermediate_size=mlp,
            rms_norm_eps=1e-5,
            initializer_range=_initial_deviation(width),
            max_position_embeddings=8192,
            tie_word_embeddings=tied,
            eos_token_id=eos_token_id,
            pad_token_id=eos_token_id,
        ),
        audio_start_token_id=audio_start_token_id,
        audio_end_token_id=audio_end_token_id,
        audio_pad_token_id=audio_pad_token_id,
        tie_word_embeddings=tied,
    )


def build(preset: str, tokenizer: object) -> QwenAudioForConditionalGeneration:
    """A freshly initialised model of a preset for a `QwenAudioTokenizer`."""
    t = tokenizer
    return QwenAudioForConditionalGeneration(
        config(
            preset,
            len(t),  # type: ignore[arg-type]
            audio_start_token_id=t.audio_start_id,  # type: ignore[attr-defined]
            audio_end_token_id=t.audio_end_id,  # type: ignore[attr-defined]
            audio_pad_token_id=t.audio_pad_id,  # type: ignore[attr-defined]
            eos_token_id=t.eos_token_id,  # type: ignore[attr-defined]
        )
    )
