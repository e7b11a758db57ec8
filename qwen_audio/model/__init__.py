"""The Qwen-Audio model as transformers classes: configuration, modelling, processing.

Importing this package registers the classes with transformers' Auto classes, so that
`AutoModelForCausalLM.from_pretrained(directory)` works without `trust_remote_code`.
"""

# ruff: noqa: E402
from qwen_audio.packages import check_packages

check_packages()  # before anything of transformers, which may have moved

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoTokenizer,
)

from qwen_audio.format.tokenizer import QwenAudioTokenizer

from . import hf
from .configuration_qwen_audio import QwenAudioConfig, QwenAudioEncoderConfig, QwenAudioTextConfig
from .modeling_encoder import QwenAudioEncoder
from .modeling_qwen_audio import QwenAudioForConditionalGeneration
from .modeling_text import QwenAudioTextForCausalLM, QwenAudioTextModel
from .processing_qwen_audio import QwenAudioProcessor

AutoConfig.register("qwen_audio_encoder", QwenAudioEncoderConfig, exist_ok=True)
AutoConfig.register("qwen_audio", QwenAudioConfig, exist_ok=True)
AutoConfig.register("qwen_audio_text", QwenAudioTextConfig, exist_ok=True)
AutoModel.register(QwenAudioEncoderConfig, QwenAudioEncoder, exist_ok=True)
AutoModel.register(QwenAudioTextConfig, QwenAudioTextModel, exist_ok=True)
AutoModelForCausalLM.register(QwenAudioTextConfig, QwenAudioTextForCausalLM, exist_ok=True)
AutoModelForCausalLM.register(QwenAudioConfig, QwenAudioForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(QwenAudioConfig, QwenAudioForConditionalGeneration, exist_ok=True)
hf.register_for_pipelines(QwenAudioConfig.model_type, QwenAudioForConditionalGeneration.__name__)
AutoTokenizer.register(QwenAudioConfig, QwenAudioTokenizer, exist_ok=True)
AutoProcessor.register(QwenAudioConfig, QwenAudioProcessor, exist_ok=True)

__all__ = [
    "QwenAudioConfig",
    "QwenAudioEncoder",
    "QwenAudioEncoderConfig",
    "QwenAudioForConditionalGeneration",
    "QwenAudioProcessor",
    "QwenAudioTextConfig",
    "QwenAudioTextForCausalLM",
    "QwenAudioTextModel",
]
