"""Synthetic music with exact labels: notes, pieces, genres, singing."""
