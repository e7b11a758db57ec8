"""Reading of a checkpoint directory, with every fault reported in one sentence before any weight is used.

A checkpoint directory holds config.json, tokenizer.json and safetensors weights (one file, or several with
model.safetensors.index.json). Nothing that could run code is read: no pickled weights, no modules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from qwen_audio.format.tokenizer import QwenAudioTokenizer
from qwen_audio.model import QwenAudioConfig, QwenAudioForConditionalGeneration, QwenAudioProcessor, hf
from qwen_audio.model.quantization import quantization_config

EMBEDDED = Path(__file__).parents[1] / "weights" / "tiny"
_INDEX = "model.safetensors.index.json"


class CheckpointError(ValueError):
    """A checkpoint directory that cannot be used; the message names the file and the key or tensor."""


def load_checkpoint(
    folder: str | Path, device: str, dtype: Any, quantization: str | None = None, *, adapted: bool = False
) -> tuple[Any, Any]:
    """The model (in evaluation mode) and the processor of a checkpoint directory.

    quantization: None, or a name of `quantization.QUANTIZATIONS`. adapted: whether the checkpoint may come from a
    training run that keeps adapters (LoRA, new rows) beside the model; they are left out.

    Raises:
        FileNotFoundError: no such directory.
        ValueError: an unknown quantization, or one whose packages are not installed.
        CheckpointError: a file is missing or broken, or the weights do not fit config.json.
    """
    folder = Path(folder)
    if folder == EMBEDDED and not folder.is_dir():
        raise FileNotFoundError(
            f"the embedded model is not in this installation ({EMBEDDED}): reinstall the package, "
            "or give the directory of a checkpoint"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory: give the directory of a checkpoint")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has no {name}: give a directory written by training")
    if not adapted and has_adapters(folder):
        raise CheckpointError(
            f"{folder} is of a training run with adapters beside the model: make a model of it with "
            f"qwen-audio export {folder} TARGET"
        )
    files = weight_files(folder)
    config = _read_config(folder)

    check_tensors(folder, config, files)
    how: dict[str, Any] = {}
    if quantization is not None:
        how["quantization_config"] = quantization_config(quantization, dtype)
        if quantization == "nf4":  # such a model cannot be moved after it is made
            how["device_map"] = {"": device}
    with hf.without_progress_bars():  # two bars for a model of some megabytes are noise
        model: Any = QwenAudioForConditionalGeneration.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, local_files_only=True, **how
        )
    try:
        tokenizer = QwenAudioTokenizer(tokenizer_file=str(folder / "tokenizer.json"))
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}/tokenizer.json cannot be read: {reason}") from error
    _check_ids(folder, config, tokenizer)
    if "device_map" not in how:
        model.to(torch.device(device))
    model.eval()
    return model, QwenAudioProcessor(tokenizer)


def has_adapters(folder: Path) -> bool:
    """True if a training checkpoint keeps LoRA or new vocabulary rows beside its model."""
    file = folder / "trainer.json"
    return file.is_file() and bool(read_json(file).get("adapters"))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: those of the index, or model.safetensors."""
    index = folder / _INDEX
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(
            isinstance(name, str) and Path(name).name == name for name in weight_map.values()
        ):
            raise CheckpointError(f"{index}: weight_map must give a file name for each tensor: copy it again")
        names = sorted(set(weight_map.values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            what = f"names {missing[0]}, which is missing" if missing else "names no file"
            raise CheckpointError(f"{index} {what}: copy the whole checkpoint again")
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise CheckpointError(
            f"{folder} has pickled weights only, which can run code when read: convert them to safetensors"
        )
    raise CheckpointError(f"{folder} has no model.safetensors: give a directory written by training")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; CheckpointError if there is none."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: give the whole directory of a model"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}): copy the checkpoint again") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object: copy the checkpoint again")
    return data


def _read_config(folder: Path) -> Any:
    path = folder / "config.json"
    data = read_json(path)
    if data.get("model_type") != QwenAudioConfig.model_type:
        raise CheckpointError(
            f'{path}: model_type is {data.get("model_type")!r}, not "{QwenAudioConfig.model_type}": '
            "give a Qwen-Audio checkpoint"
        )
    try:
        return QwenAudioConfig.from_dict(data)
    except Exception as error:  # from pydantic-like validators of several libraries: a wrong value
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not describe a model: {reason}") from error


def check_tensors(folder: Path, config: Any, files: list[Path]) -> None:
    """Compare names and shapes in the safetensors headers with those of the configuration's model."""
    with torch.device("meta"):
        skeleton = QwenAudioForConditionalGeneration(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    tied = hf.tied_names(skeleton)
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (a reader of safetensors is no mapping)
                    found[name] = tuple(weights.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): copy the checkpoint again") from None
    advice = "use the config.json that was saved with these weights"
    for name, shape in wanted.items():
        if name not in found and name not in tied:
            raise CheckpointError(f"{folder}: the weights lack {name}, which config.json asks for: {advice}")
        if name in found and found[name] != shape:
            raise CheckpointError(
                f"{folder}: {name} has shape {found[name]} but config.json asks for {shape}: {advice}"
            )
    for name in found:
        if name not in wanted:
            raise CheckpointError(f"{folder}: the weights hold {name}, unknown to config.json: {advice}")


def _check_ids(folder: Path, config: Any, tokenizer: Any) -> None:
    rows = config.text_config.vocab_size
    if len(tokenizer) > rows:
        raise CheckpointError(
            f"{folder}: tokenizer.json has {len(tokenizer)} tokens but text_config.vocab_size is {rows}: "
            "use the tokenizer.json that was saved with these weights"
        )
    pairs = {
        "audio_start_token_id": tokenizer.audio_start_id,
        "audio_end_token_id": tokenizer.audio_end_id,
        "audio_pad_token_id": tokenizer.audio_pad_id,
    }
    for key, token_id in pairs.items():
        if getattr(config, key) != token_id:
            raise CheckpointError(
                f"{folder}/config.json: {key} is {getattr(config, key)} but tokenizer.json has {token_id}: "
                "use the tokenizer.json that was saved with these weights"
            )
