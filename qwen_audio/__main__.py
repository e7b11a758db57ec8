"""The command line as a module: `python -m qwen_audio transcribe speech.wav`."""

from qwen_audio.cli.main import main

if __name__ == "__main__":
    main()
