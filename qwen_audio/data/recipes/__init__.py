"""Recipes: manifests of public corpora, made from the folder that a user has downloaded and unpacked.

    from qwen_audio.data.recipes import RECIPES, prepare
    prepare(RECIPES["nsynth"], "/data/nsynth", "manifests", splits=["test"])

One small module a corpus locates its audio and annotations; base.py has the steps common to all.
"""

from __future__ import annotations

from qwen_audio.data.recipes import (
    aishell1,
    aishell2,
    clotho,
    clothoaqa,
    cochlscene,
    covost2,
    librispeech,
    meld,
    musicavqa,
    nsynth,
    tut2017,
    vocalsound,
)
from qwen_audio.data.recipes.base import Notes, Prepared, Recipe, prepare
from qwen_audio.format.example import close_names

__all__ = ["RECIPES", "Notes", "Prepared", "Recipe", "find", "prepare"]

_MODULES = (
    librispeech, aishell1, aishell2, covost2, clotho, clothoaqa, cochlscene, tut2017, meld, vocalsound, nsynth,
    musicavqa,
)  # fmt: skip
RECIPES: dict[str, Recipe] = {module.RECIPE.name: module.RECIPE for module in _MODULES}


def find(name: str) -> Recipe:
    """The recipe of a name, case and punctuation not counting; ValueError that names the nearest ones."""
    key = "".join(char for char in name.lower() if char.isalnum())
    if key not in RECIPES:
        raise ValueError(f"unknown corpus {name!r}{close_names(key, RECIPES)}")
    return RECIPES[key]
