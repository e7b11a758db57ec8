"""The command line: `qwen-audio`, and as a module `python -m qwen_audio transcribe speech.wav`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a package that it cannot be imported without is one sentence."""
    try:
        from qwen_audio.cli.main import main as run  # inside, so that a failure can be explained
    except ImportError as error:
        from qwen_audio.packages import explain

        fault = explain(error)
        if fault is None:
            raise
        print(f"error: {fault}", file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
