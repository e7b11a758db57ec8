"""Configuration of Qwen-Audio: an audio encoder, a causal language model, and the ids that join them."""

from transformers import AutoConfig, PreTrainedConfig, Qwen2Config

from . import hf


@hf.strict
class QwenAudioEncoderConfig(PreTrainedConfig):
    """The Whisper-style audio encoder. Defaults are those of Whisper-large-v2, as in the published model.

    Attributes:
        num_mel_bins: mel bands of the log-mel spectrogram.
        d_model: width of the encoder; even, and divisible by `encoder_attention_heads`.
        encoder_layers, encoder_attention_heads, encoder_ffn_dim: size of the transformer.
        max_source_positions: encoder frames (20 ms each) that have a position: 1500 = 30 s.
        initializer_range: standard deviation of freshly made matrices.
    """

    model_type = "qwen_audio_encoder"
    attribute_map = {
        "num_hidden_layers": "encoder_layers",
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
    }

    num_mel_bins: int = 80
    d_model: int = 1280
    encoder_layers: int = 32
    encoder_attention_heads: int = 20
    encoder_ffn_dim: int = 5120
    max_source_positions: int = 1500
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: object) -> None:
        if self.d_model % 2 or self.d_model % self.encoder_attention_heads:
            raise ValueError(
                f"d_model={self.d_model} must be even and divisible by "
                f"encoder_attention_heads={self.encoder_attention_heads}"
            )
        super().__post_init__(**kwargs)


@hf.strict
class QwenAudioConfig(PreTrainedConfig):
    """A Qwen-Audio model: `audio_config`, `text_config` (any causal LM known to transformers), token ids.

    Attributes:
        audio_config: a `QwenAudioEncoderConfig` or its dictionary.
        text_config: configuration (or dictionary with `model_type`) of any `AutoModelForCausalLM`.
        audio_start_token_id, audio_end_token_id: ids of `<audio>` and `</audio>`.
        audio_pad_token_id: id that fills a span between the two, one for each 40 ms of audio.
        dialogues: whether the model can hold a dialogue; false of one that knows tasks and questions only.
    """

    model_type = "qwen_audio"
    sub_configs_defaults = {
        "text_config": hf.SubConfigSpec(config_class=AutoConfig, model_type="qwen2"),
        "audio_config": hf.SubConfigSpec(config_class=AutoConfig, model_type="qwen_audio_encoder"),
    }

    audio_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    audio_start_token_id: int = 155163
    audio_end_token_id: int = 155164
    audio_pad_token_id: int = 151851
    dialogues: bool = True
    tie_word_embeddings: bool = False


@hf.strict
class QwenAudioTextConfig(Qwen2Config):
    """The language model of the published system: Qwen-7B. Defaults are its own.

    Attributes:
        seq_length: tokens up to which plain rotary attention is used.
        use_dynamic_ntk: whether prompts longer than that get a larger rotary base.
        use_logn_attn: whether queries past that are scaled by the logarithm of their position.
    """

    model_type = "qwen_audio_text"

    vocab_size: int = 155_947
    intermediate_size: int = 11_008
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    seq_length: int = 2048
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True

    def __post_init__(self, **kwargs: object) -> None:
        if self.hidden_act != "silu":
            raise ValueError(f"hidden_act is {self.hidden_act!r}: this language model has silu only")
        super().__post_init__(**kwargs)
