"""Dialogues about recordings: turns, history, the KV cache kept between turns."""
