"""Evaluation: benchmarks, systems, runs, metrics, reports, leaks."""
