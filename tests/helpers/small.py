"""Models of some thousand random weights, of every kind of text model, for tests of decoding."""

from __future__ import annotations

import torch

from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model import QwenAudioConfig, QwenAudioForConditionalGeneration
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor


def random_model(
    model_type: str = "qwen2", seed: int = 0, **text: object
) -> tuple[QwenAudioForConditionalGeneration, QwenAudioProcessor]:
    """A model and its processor; `text` goes into the text configuration."""
    torch.manual_seed(seed)
    processor = QwenAudioProcessor(byte_tokenizer())
    tokenizer = processor.tokenizer
    sizes = {
        "model_type": model_type,
        "vocab_size": len(tokenizer) + 6,  # the last rows are no token, as in the published model
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
    }
    config = QwenAudioConfig(
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "initializer_range": 0.2,
        },
        text_config=sizes | text,
        audio_start_token_id=tokenizer.audio_start_id,
        audio_end_token_id=tokenizer.audio_end_id,
        audio_pad_token_id=tokenizer.audio_pad_id,
    )
    return QwenAudioForConditionalGeneration(config).eval(), processor
