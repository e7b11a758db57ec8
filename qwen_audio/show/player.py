"""Audio playback through an installed program, without a sound library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# Programs that play a WAV file and end, of FFmpeg, PulseAudio, ALSA, SoX and macOS.
PLAYERS = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"), ("paplay",), ("aplay", "-q"), ("play", "-q"), ("afplay",),
)  # fmt: skip


def find_player() -> list[str]:
    """The command that plays a file; ValueError where none of `PLAYERS` is installed."""
    for command in PLAYERS:
        if shutil.which(command[0]):
            return list(command)
    names = ", ".join(command[0] for command in PLAYERS)
    raise ValueError(
        f"nothing here plays audio: install one of {names}, or open the file with another program"
    )


def play(player: list[str], path: Path) -> None:
    """Play a file to its end; ValueError where the program fails."""
    done = subprocess.run([*player, str(path.absolute())], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"{path}: {player[0]} did not play it: {reason}")
