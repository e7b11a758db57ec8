"""Quantisation of the language model to 8 or 4 bits; audio encoder, embeddings and output layer keep their precision.

    qwen_audio.load("path/to/checkpoint", quantization="int8")

Matrices are quantised one by one while a checkpoint is read. Needs `pip install open-qwen-audio[quantization]`.
"""

from __future__ import annotations

from typing import Any

from qwen_audio.packages import check_packages

# name -> packages it needs
QUANTIZATIONS = {"int8": ("torchao",), "nf4": ("bitsandbytes", "accelerate")}
# Modules that keep their precision: the encoder is the input, the output layer makes the choice, and both are small.
KEPT = ("audio_tower", "audio_projection", "lm_head")


def quantization_config(name: str, dtype: Any) -> Any:
    """The `quantization_config` of `from_pretrained`.

    name: "int8", weights of 8 bits with a scale for each row (torchao); or "nf4", of 4 bits in blocks of 64
    (bitsandbytes). dtype: torch dtype to compute in. Raises ValueError for another name, and PackageError for
    a package that is missing or of an untested version.
    """
    if name not in QUANTIZATIONS:
        raise ValueError(f"there is no quantization {name!r}: use {' or '.join(QUANTIZATIONS)}")
    check_packages("quantization", *QUANTIZATIONS[name])
    if name == "int8":
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=list(KEPT))
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(KEPT),
    )


def stored_bytes(module: Any) -> int:
    """Bytes that a module's parameters occupy, quantised ones as they are stored."""
    return sum(_bytes(parameter) for parameter in module.parameters())


def _bytes(tensor: Any) -> int:
    state = getattr(tensor, "quant_state", None)  # bitsandbytes: the scales beside the packed matrix
    if state is not None:
        return tensor.nbytes + sum(part.nbytes for part in state.as_dict(packed=True).values())
    if type(tensor).__name__ == "Parameter" or not hasattr(tensor, "__tensor_flatten__"):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()  # torchao: a tensor made of tensors
    return sum(_bytes(getattr(tensor, name)) for name in names)


__all__ = ["KEPT", "QUANTIZATIONS", "quantization_config", "stored_bytes"]
