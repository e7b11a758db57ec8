"""Makers of dialogues for supervised fine-tuning, from labels or by a language model."""
