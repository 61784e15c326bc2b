"""What can change while the gateway runs: the models, the router bundle and the keys, as one versioned document."""
