"""Inference: requests, the token loop, sampling, constraints, the engine."""
