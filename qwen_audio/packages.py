"""Checks of installed packages against the version bounds that this project was tested with.

    check_packages()                   # the required ones; done when a model is loaded
    check_packages("train", "peft")    # one of an extra, before it is used

The bounds are read from the installed metadata, which pip writes from pyproject.toml. QWEN_AUDIO_ANY_VERSION=1 in the
environment accepts versions outside them.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

DISTRIBUTION = "open-qwen-audio"
ANY_VERSION = "QWEN_AUDIO_ANY_VERSION"
# Modules of optional parts, and the extra that brings each.
EXTRAS = {
    "espeakng_loader": "synth",
    "wordfreq": "synth",
    "pretty_midi": "synth",
    "peft": "train",
    "tensorboard": "train",
    "pocketsphinx": "eval",
    "sounddevice": "microphone",
    "torchao": "quantization",
    "bitsandbytes": "quantization",
    "accelerate": "quantization",
}


class PackageError(ImportError, ValueError):
    """A package that is missing, too old or too new; one sentence with the command that repairs it."""


@cache
def check_packages(extra: str = "", *names: str) -> None:
    """PackageError for packages that are missing or outside their bounds.

    Args:
        extra: an optional part, as in `pip install 'open-qwen-audio[train]'`; "" for the required packages.
        names: the packages to look at; all of that part if there are none.
    """
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name

        listed = [Requirement(line) for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return  # run from its folder without being installed: there are no bounds to be read
    except ModuleNotFoundError:
        raise PackageError("packaging is not installed: run pip install packaging") from None
    faults, mends = [], []
    for wanted in listed:
        of_extra = wanted.marker is not None and "extra" in str(wanted.marker)
        if of_extra != bool(extra) or (wanted.marker and not wanted.marker.evaluate({"extra": extra})):
            continue
        if names and canonicalize_name(wanted.name) not in map(canonicalize_name, names):
            continue
        bounds = ",".join(sorted(map(str, wanted.specifier), reverse=True))  # the lower one first
        fault = _fault(wanted.name, bounds)
        if fault is not None:
            faults.append(fault)
            mends.append(f"'{wanted.name}{bounds}'")
    if faults:
        part = f" (extra {extra})" if extra else ""
        raise PackageError(f"{', '.join(faults)}{part}: run pip install {' '.join(mends)}")


def explain(error: ImportError) -> PackageError | None:
    """The PackageError behind a failed import; None if the installed packages are not the cause."""
    module = (error.name or "").partition(".")[0]
    try:
        requires(DISTRIBUTION)
        check_packages()
        if module in EXTRAS:
            check_packages(EXTRAS[module], module)
    except PackageError as fault:
        return fault
    except PackageNotFoundError:
        return PackageError(f"{DISTRIBUTION} is not installed ({error}): run pip install . in its folder")
    if module not in EXTRAS:
        return None
    extra = EXTRAS[module]
    return PackageError(
        f"{module} cannot be imported ({error}), of the extra {extra}: run pip install '{DISTRIBUTION}[{extra}]'"
    )


def _fault(name: str, bounds: str) -> str | None:
    """The fault of an installed package, as a clause; None if there is none."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    try:
        installed = Version(version(name))
    except PackageNotFoundError:
        return f"{name} is not installed"
    specifiers = SpecifierSet(bounds)
    if specifiers.contains(installed, prereleases=True) or os.environ.get(ANY_VERSION, "").lower() not in (
        "",
        "0",
        "false",
    ):
        return None
    lowest = [Version(part.version) for part in specifiers if part.operator == ">="]
    too = "older" if lowest and installed < lowest[0] else "newer"
    return f"{name} {installed} is {too} than what this version was run with"
