"""Programs that travel: exported once, run by plain JAX without this package."""
