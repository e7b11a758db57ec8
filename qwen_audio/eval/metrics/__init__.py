"""Scores of answers, each with its interval."""
