"""Many requests on one model at once: the engine under the Python API and the command line."""
