"""Programs of others that speak the durable-streams protocol with a gateway."""
