"""A model added to a trained router: its row of the scorer learned from few probes, everything else as it was."""
