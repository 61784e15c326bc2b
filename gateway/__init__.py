"""The online half: one OpenAI-compatible endpoint that routes each request to the best of many vLLM models."""
