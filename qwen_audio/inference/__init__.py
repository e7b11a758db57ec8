"""Answers from a model: requests, the token loop, sampling, constraints, the engine."""
