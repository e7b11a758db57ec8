"""Sounds that label themselves: events, scenes, captions, questions."""
