"""Systems under test: this project's models and, through small adapters, others."""
