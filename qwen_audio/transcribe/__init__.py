"""Transcription of recordings of any length: decoded piece by piece, cut at pauses, transcribed in batches, joined.

speech.py     speech detectors: the probabilities of a small network, or anything that is not silent
segments.py   windows of at most 30 s around the speech
recording.py  windows to text, in order, with times
journal.py    the finished windows of a job, kept on disk so that a killed job can be continued
live.py       pipes and microphones, with partial results

audio/stream.py gives the pieces of a file or a pipe; cli/ctrl_c.py makes Ctrl-C the end of a live source.
"""
