"""Faults of the machine, and what the relay and its logs keep through them."""
