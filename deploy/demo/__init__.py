"""The demo: real models on a CPU, from packages alone."""
