"""Which model answers: hard masks, rules, sessions, and one policy by name."""
