"""The pool of OpenAI-compatible servers behind the gateway, and the client that speaks to them."""
