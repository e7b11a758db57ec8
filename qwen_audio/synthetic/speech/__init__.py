"""Synthetic speech with exact labels: texts, voices, word times, speakers, commands."""
