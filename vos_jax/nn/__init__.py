"""Linen blocks shared by the methods. Letters in shapes as in `vos_jax.ops`."""
