"""Write the plans of a page anew: below each `qwen-audio plan` command of it, what the command prints.

python -m qwen_audio.plan docs/scale.md
"""

import sys
from pathlib import Path

from qwen_audio.plan.page import filled

for name in sys.argv[1:]:
    path = Path(name)
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
