"""Evaluation: metrics, and running a manifest through the model."""
