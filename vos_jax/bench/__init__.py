"""How fast it is, and how far from what is possible."""
