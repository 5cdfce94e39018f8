"""Names that help texts list, without loading JAX as their tables do."""

METHODS = (
    *("stm", "stm-tiny", "hmmn", "hmmn-tiny", "lcm", "lcm-tiny"),
    *("stcn", "rde", "rde-tiny", "dmn-aoa", "dmn-aoa-tiny"),
)
"""All of `vos_jax.METHODS`."""

PROGRAMS = ("start", "step", "video", "read")
"""All of `vos_jax.inference.programs.kinds.KINDS`."""

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")
"""All of `vos_jax.methods.weights.BACKBONES`."""
