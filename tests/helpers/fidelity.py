"""How far ours is from what the published code computes: one row for each set of reference numbers.

    python tests/helpers/fidelity.py ../shared        prints the table of docs/fidelity.md

The reference folder is not part of the project; without it only the numbers stored in tests/golden are compared.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from paths import ROOT
from safetensors.torch import load_file
from torch import Tensor

from qwen_audio.audio import features
from qwen_audio.model import QwenAudioForConditionalGeneration, QwenAudioTextForCausalLM
from qwen_audio.model.conversion import names
from qwen_audio.model.conversion.files import Weights
from qwen_audio.model.conversion.published_config import text_config
from qwen_audio.model.convert import load_published
from qwen_audio.model.modeling_encoder import encoder_frames

STORED = ROOT / "tests" / "golden"
# Answers whose log-n factor the published code takes from padded places: here compared with the rows alone.
MENDED = (
    "batch_left_gt_seq",
    "batch_audio_left",
    "gen_batch_left_cross",
    "gen_batch_left_mixed_alpha",
    "gen_batch_audio_left",
)
LM_CONFIG = {
    "vocab_size": 512,
    "hidden_size": 96,
    "num_attention_heads": 4,
    "kv_channels": 24,
    "num_hidden_layers": 3,
    "intermediate_size": 256,
    "seq_length": 32,
    "layer_norm_epsilon": 1e-5,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "no_bias": True,
}


@dataclass(frozen=True)
class Row:
    """One comparison: what, the tolerance asked for, the largest difference (or how many differ)."""

    what: str
    tolerance: float
    error: float


def difference(ours: Tensor, theirs: Any) -> float:
    """Largest absolute difference; shapes must be equal."""
    theirs = torch.as_tensor(np.asarray(theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours.float() - theirs.float()).abs().max())


@contextmanager
def published_directory(golden: Path, part: str, plain: bool = False) -> Iterator[Path]:
    """The weights of a reference folder as a published checkpoint; `plain` switches the long-context rules off."""
    config = json.loads((golden / part / "README.json").read_text())["config"]
    if plain:
        config |= {"use_dynamic_ntk": False, "use_logn_attn": False}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(golden / part / "weights.safetensors", Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(config))
        yield Path(folder)


def stored_language_model(plain: bool = False) -> tuple[QwenAudioTextForCausalLM, dict[str, Tensor]]:
    """The language model of the stored numbers, and these."""
    stored = load_file(STORED / "lm.safetensors")
    config = text_config(STORED, {**LM_CONFIG, "use_dynamic_ntk": not plain, "use_logn_attn": not plain})
    weights = Weights(
        memory={k.removeprefix("weights."): v for k, v in stored.items() if k.startswith("weights.")}
    )
    shapes, _ = names.shapes_of(config)
    outputs = names.to_ours(names.text_links(config.num_hidden_layers), weights, shapes)
    model = QwenAudioTextForCausalLM(config).eval()
    model.load_state_dict({output.name: output.make() for output in outputs})
    return model, stored


def mel_rows(golden: Path) -> Iterator[Row]:
    """Log-mel of every recording, on the frames that the encoder sees."""
    worst, count = 0.0, 0
    for path in sorted((golden / "mel").glob("*.npz")):
        data = np.load(path)
        if "wav_int16" in data:
            ours = features.log_mel(data["wav_int16"].astype(np.float32) / 32768)
            worst = max(worst, difference(ours, data["mel_padded"][:, : ours.shape[1]]))
            count += 1
    yield Row(f"log-mel, {count} recordings", 1e-4, worst)


def length_rows(golden: Path) -> Iterator[Row]:
    """Frames, tokens and spans of every sample count in the table."""
    rows = json.loads((golden / "lengths" / "audio_lengths.json").read_text())
    wrong = 0
    for row in rows:
        frames = features.mel_frames(min(row["n_samples"], features.MAX_SAMPLES))
        ours = (
            frames,
            features.encoder_frames(frames),
            features.audio_tokens(frames),
            features.span_length(frames),
        )
        keys = "mel_len", "audio_len_after_cnn", "audio_token_num", "span"
        wrong += ours != tuple(row[key] for key in keys)
    yield Row(f"lengths of {len(rows)} sample counts: how many differ", 0, wrong)


@torch.no_grad()
def encoder_rows(golden: Path) -> Iterator[Row]:
    """Three recordings: alone, and together in one batch, which must not matter."""
    weights = load_file(golden / "encoder" / "weights.safetensors")
    config = json.loads((golden / "encoder" / "README.json").read_text())["config"]
    data, wanted = (np.load(golden / "encoder" / name) for name in ("inputs.npz", "outputs.npz"))
    model = published_encoder(weights, config)
    features = torch.tensor(data["mel"].astype(np.float32))
    lengths = torch.tensor(2 * data["input_audio_lengths"][:, 0]).long()
    counts = data["input_audio_lengths"][:, 1]
    together = model(features, lengths)
    alone = [model(features[i : i + 1, :, : lengths[i]], lengths[i : i + 1])[0] for i in range(len(lengths))]
    for what, outputs in (("", alone), (" in one batch, beside each alone", together)):
        errors = [difference(outputs[i][: counts[i]], wanted[f"single_item{i}"][1:-1]) for i in range(3)]
        yield Row(f"encoder, 3 recordings{what}", 2e-5, max(errors))
    half = model.to(torch.bfloat16)(features[1:2].to(torch.bfloat16), lengths[1:2])[0]
    yield Row("encoder in bfloat16", 5e-2, difference(half[: counts[1]], wanted["bf16_single_item1"][1:-1]))


def published_encoder(weights: dict[str, Tensor], config: dict[str, Any]) -> torch.nn.Module:
    """Tower and projection of a published encoder; maps features and lengths to projected vectors."""
    from qwen_audio.model import QwenAudioEncoder, QwenAudioEncoderConfig

    tower = QwenAudioEncoder(
        QwenAudioEncoderConfig(
            d_model=config["n_state"],
            encoder_layers=config["n_layer"],
            encoder_attention_heads=config["n_head"],
            encoder_ffn_dim=4 * config["n_state"],
        )
    )
    tower.load_state_dict({new: weights[old] for old, new in names.encoder_names(config["n_layer"]).items()})
    projection = torch.nn.Linear(config["n_state"], config["output_dim"])
    projection.load_state_dict({"weight": weights["proj.weight"], "bias": weights["proj.bias"]})

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower, self.projection = tower, projection

        def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
            return self.projection(self.tower(features, lengths))

    return Both().eval()


@contextmanager
def neighbours_heard(model: QwenAudioForConditionalGeneration) -> Iterator[None]:
    """The published fault on purpose: convolutions see what follows a clip up to the end of the longest one.

    Reference logits with several recordings were computed so; with the fault on both sides, the rest can be compared.
    """
    tower: Any = model.audio_tower

    def forward(features: Tensor, lengths: Tensor) -> Tensor:
        features = features[:, :, : int(lengths.max())]
        x = F.gelu(tower.conv2(F.gelu(tower.conv1(features)))).transpose(1, 2)
        mask = torch.arange(x.shape[1]) < encoder_frames(lengths)[:, None]
        x = (x + tower.positional_embedding[: x.shape[1]]) * mask[..., None]
        for layer in tower.layers:
            x = layer(x, mask[:, None, None])
        return tower.layer_norm(F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2))

    tower.forward = forward
    try:
        yield
    finally:
        del tower.forward


def as_published(model: QwenAudioForConditionalGeneration, inputs: dict[str, Tensor]) -> Any:
    """The published fault where it shows: in a call with several recordings."""
    several = len(inputs.get("feature_lengths", ())) > 1
    return neighbours_heard(model) if several else nullcontext()


class LanguageModelSet:
    """The reference folder `lm`: the model with and without long-context rules, and its recordings."""

    def __init__(self, golden: Path) -> None:
        self.models = {}
        for plain in (False, True):
            with published_directory(golden, "lm", plain) as folder:
                self.models[plain], _ = load_published(folder)
        self.audio = np.load(golden / "lm" / "audio.npz")
        self.facts = json.loads((golden / "lm" / "README.json").read_text())["files"]

    def model(self, case: dict[str, Any]) -> Any:
        """The model that a case was computed with."""
        return self.models[case["config"] != "ntk_logn"]

    def inputs(self, case: dict[str, Any], data: Any, name: str) -> dict[str, Tensor]:
        """Inputs of a case."""
        inputs = {"input_ids": torch.tensor(data[f"{name}/input_ids"]).long()}
        if f"{name}/attention_mask" in data:
            inputs["attention_mask"] = torch.tensor(data[f"{name}/attention_mask"]).long()
        order = case["audio_index_order"]
        if order:
            inputs["input_features"] = torch.tensor(self.audio["mel"][order].astype(np.float32))
            inputs["feature_lengths"] = torch.tensor(2 * self.audio["input_audio_lengths"][order, 0]).long()
        return inputs


@torch.no_grad()
def logit_rows(golden: Path, lm: LanguageModelSet) -> Iterator[Row]:
    """Logits of every case."""
    data = np.load(golden / "lm" / "cases.npz")
    for name, case in lm.facts["cases.npz"]["cases"].items():
        if f"{name}/input_ids" not in data or "config" not in case:
            continue
        inputs = lm.inputs(case, data, name)
        with as_published(lm.model(case), inputs):
            logits = lm.model(case)(**inputs).logits
        mask = inputs.get("attention_mask")
        if f"{name}/logits" in data:
            wanted = torch.tensor(data[f"{name}/logits"])
            if mask is not None:
                logits, wanted = logits[mask.bool()], wanted[mask.bool()]
        else:
            source = name.replace("left", "right") if name in MENDED else name
            logits, wanted = logits[mask.bool()], torch.tensor(data[f"{source}/logits_valid"])
        note = ", beside the same rows padded on the right" if name in MENDED else ""
        yield Row(f"logits, {name}{note}", 2e-4, difference(logits, wanted))


@torch.no_grad()
def fault_rows(golden: Path, lm: LanguageModelSet) -> Iterator[str]:
    """How far logits with two recordings are from the published ones as ours are: the size of the published fault."""
    data = np.load(golden / "lm" / "cases.npz")
    for name in ("audio2", "audio_first_last"):
        case = lm.facts["cases.npz"]["cases"][name]
        logits = lm.model(case)(**lm.inputs(case, data, name)).logits
        yield f"logits, {name}, without the fault: {difference(logits, data[f'{name}/logits']):.2g}"


def greedy_rows(golden: Path, lm: LanguageModelSet) -> Iterator[Row]:
    """Greedy tokens and the logits of each step.

    The three batches in which the published code pads wrongly (`MENDED`) are left out: there is nothing right to
    compare with. That a row's answer is the same alone and in such a batch is shown in test_batch_invariance.py.
    """
    data = np.load(golden / "lm" / "generation.npz")
    for name, case in lm.facts["generation.npz"]["cases"].items():
        if f"{name}/step_logits" not in data or "config" not in case or name in MENDED:
            continue
        inputs = lm.inputs(case, data, name)
        with as_published(lm.model(case), inputs):
            output = lm.model(case).generate(
                **inputs,
                do_sample=False,
                max_new_tokens=data[f"{name}/new_tokens"].shape[1],
                eos_token_id=None,
                pad_token_id=511,
                return_dict_in_generate=True,
                output_logits=True,
            )
        new = output.sequences[:, inputs["input_ids"].shape[1] :]
        wrong = int((new.numpy() != data[f"{name}/new_tokens"]).sum())
        yield Row(f"greedy tokens, {name}: how many of {new.numel()} differ", 0, wrong)
        logits = torch.stack(output.logits, 1)
        yield Row(f"logits of these steps, {name}", 2e-4, difference(logits, data[f"{name}/step_logits"]))


def all_rows(golden: Path) -> Iterator[Row]:
    """Everything."""
    yield from mel_rows(golden)
    yield from length_rows(golden)
    yield from encoder_rows(golden)
    lm = LanguageModelSet(golden)
    yield from logit_rows(golden, lm)
    yield from greedy_rows(golden, lm)


def main(shared: str) -> None:
    """Print the table."""
    print("| set | asked | measured |\n|---|---|---|")
    for row in all_rows(Path(shared) / "golden"):
        asked = "0" if row.tolerance == 0 else f"{row.tolerance:.0e}"
        print(f"| {row.what} | {asked} | {row.error:.2g} |")
    for line in fault_rows(Path(shared) / "golden", LanguageModelSet(Path(shared) / "golden")):
        print("\n" + line)


if __name__ == "__main__":
    main(sys.argv[1])
