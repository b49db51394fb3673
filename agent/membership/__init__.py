"""Joining a swarm and leaving it. Nothing here is loaded by an agent that runs."""
