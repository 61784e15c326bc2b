"""The offline half: trainers that make the router, the specialists and the tables the gateway serves from."""
