"""Score a pool of LLMs on queries with verifiable answers: the router's training table."""
