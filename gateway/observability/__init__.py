"""What an operator sees: metrics with closed label sets, and structured logs without prompts or keys."""
