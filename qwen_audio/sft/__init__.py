"""Dialogues for supervised fine-tuning: their files, their encoding, and the makers of them."""
