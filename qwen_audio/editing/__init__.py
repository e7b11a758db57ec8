"""Finding words and sounds in a recording and editing it by them: the paper's speech editing as a tool.

    qwen-audio ground talk.wav 'find the word "seven"'
    qwen-audio edit talk.wav 'bleep every "seven"' --output clean.wav

instructions.py reads the request, ground.py finds the spans, cuts.py changes the samples, tool.py does all three.
"""

from qwen_audio.editing.cuts import Edit, apply_edits
from qwen_audio.editing.ground import Grounding, ground
from qwen_audio.editing.instructions import Instruction, InstructionError, read_answer, read_instruction
from qwen_audio.editing.tool import Edited, edit

__all__ = [
    "Edit",
    "Edited",
    "Grounding",
    "Instruction",
    "InstructionError",
    "apply_edits",
    "edit",
    "ground",
    "read_answer",
    "read_instruction",
]
