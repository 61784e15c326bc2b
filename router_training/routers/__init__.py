"""Trainers of routers: a training table in, a router bundle out."""
