"""The bodies of answers, the text between the prompt and `<|endoftext|>`: writing and parsing.

Each kind of body is one `Body`: `render(example, form)` gives labelled segments, `parse(text)` reads a
generated string into a `Parsed` and never raises, `ask(example)` is the answer where the task is put as a
free question. `task_table.py` says which task uses which body.
"""

from qwen_audio.format.answers import notes, plain, speech, timed
from qwen_audio.format.answers.base import Body, Parsed

__all__ = ["BODIES", "Body", "Parsed"]

BODIES: dict[str, Body] = {**plain.BODIES, **timed.BODIES, **speech.BODIES, **notes.BODIES}
