"""The command line of transformers, with this model registered.

python -m qwen_audio.model serve path/to/checkpoint
"""

from qwen_audio.model import hf  # importing the package registers the classes

if __name__ == "__main__":
    hf.command_line()
