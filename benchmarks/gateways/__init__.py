"""The gateways that benchmarks/gateway.py measures, one file each, and what installs, starts and accounts for them."""
