"""Exact response cache: the same request of the same key to the same model is answered from what was kept."""
