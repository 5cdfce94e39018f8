"""`vos-jax annotate`: a page on this machine to draw masks on, and its server."""
