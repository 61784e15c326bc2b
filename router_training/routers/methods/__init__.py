"""Routing methods, one file each: from query vectors and credits to the tensors of the scorer of the same name."""
