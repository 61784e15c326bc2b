"""How well a router chooses, beside every rival that the same answers allow."""
