"""transformers' own command line, with this model known to it.

python -m qwen_audio.model serve path/to/checkpoint
"""

from transformers.cli.transformers import main

import qwen_audio.model  # noqa: F401  (registers the classes)

if __name__ == "__main__":
    main()
