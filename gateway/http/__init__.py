"""The edge: what a client's bytes meet first and last."""
