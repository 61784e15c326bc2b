"""A load generator and a mock upstream in C, for loopback alone, and the Python that builds and drives them."""
