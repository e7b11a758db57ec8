"""Recordings of any length: decoded piece by piece, cut at pauses, transcribed in batches, put together again.

blocks.py     any file or pipe as 16 kHz mono pieces, in bounded memory
speech.py     where there is speech: probabilities of a small network, or anything that is not silent
segments.py   windows of at most 30 s around the speech
job.py        windows to text, in order, with times
journal.py    what a killed job had finished
live.py       pipes and microphones, with partial results
ctrl_c.py     Ctrl-C as the end of such a source
"""
