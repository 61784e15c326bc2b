"""What must outlive a request: in memory on one worker, in Redis across many. One interface, the same tests."""
