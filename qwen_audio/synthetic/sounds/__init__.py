"""Synthetic sounds with exact labels: events, scenes, captions, questions."""
