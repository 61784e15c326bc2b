"""Scorers by name: what a bundle's tensors say of a query's vector. The interface: base.py; the list: registry.py."""
