"""Rows of name tables for blocks that many published checkpoints share.

Each function returns the part of a `Table` for one block at `path` (below `params`)
that a checkpoint calls `name`.
"""

from collections.abc import Mapping

from vos_jax.convert.mapping import Source
from vos_jax.convert.tree import TreePath
from vos_jax.nn.resnet import ResNetConfig

Table = dict[TreePath, Source]
"""Where each leaf of a method's variables stands in a checkpoint."""

_Path = tuple[str, ...]


def kernel(path: _Path, *names: str) -> Table:
    """A convolution without bias; several names are joined along the input channels."""
    weights = tuple(f"{name}.weight" for name in names)
    return {("params", *path, "kernel"): Source(weights, "conv")}


def conv(path: _Path, name: str) -> Table:
    """A convolution with bias."""
    bias = Source((f"{name}.bias",), "vector")
    return {**kernel(path, name), ("params", *path, "bias"): bias}


def dense(path: _Path, name: str) -> Table:
    """A matrix with bias."""
    weight, bias = (
        Source((f"{name}.weight",), "dense"),
        Source((f"{name}.bias",), "vector"),
    )
    return {("params", *path, "kernel"): weight, ("params", *path, "bias"): bias}


def norm(path: _Path, name: str) -> Table:
    """A batch norm with its statistics."""
    leaves = {
        ("params", *path, "scale"): "weight",
        ("params", *path, "bias"): "bias",
        ("batch_stats", *path, "mean"): "running_mean",
        ("batch_stats", *path, "var"): "running_var",
    }
    return {leaf: Source((f"{name}.{end}",), "vector") for leaf, end in leaves.items()}


def group_norm(path: _Path, name: str) -> Table:
    """A group norm, which has no statistics."""
    leaves = {"scale": "weight", "bias": "bias"}
    return {
        ("params", *path, leaf): Source((f"{name}.{end}",), "vector")
        for leaf, end in leaves.items()
    }


def conv_norm(path: _Path, conv_name: str, norm_name: str, bias: bool = False) -> Table:
    """A `ConvNorm`."""
    rows = conv if bias else kernel
    return {**rows((*path, "conv"), conv_name), **norm((*path, "norm"), norm_name)}


def res_block(path: _Path, name: str) -> Table:
    """A pre-activation residual block of a decoder."""
    first = conv((*path, "conv1"), f"{name}.conv1")
    return {**first, **conv((*path, "conv2"), f"{name}.conv2")}


def trunk(
    path: _Path,
    name: str,
    config: ResNetConfig,
    stages: Mapping[int, str],
    bias: bool = False,
) -> Table:
    """A ResNet behind its stem, in torchvision's block naming.

    Args:
      path: Of the `Trunk`.
      name: Prefix in the checkpoint, "" for none.
      config: Which ResNet.
      stages: The checkpoint's name of each stage.
      bias: Whether the convolutions have biases.
    """
    table: Table = {}
    convs = ("conv1", "conv2", "conv3") if config.bottleneck else ("conv1", "conv2")
    for stage, stage_name in stages.items():
        for block in range(config.blocks(stage)):
            here = (*path, f"res{stage}", f"block{block}")
            prefix = f"{name}.{stage_name}.{block}".removeprefix(".")
            for number, layer in enumerate(convs, 1):
                conv_name, norm_name = f"{prefix}.{layer}", f"{prefix}.bn{number}"
                table |= conv_norm((*here, layer), conv_name, norm_name, bias)
            if block == 0 and (stage > 2 or config.bottleneck):
                down = f"{prefix}.downsample"
                table |= conv_norm((*here, "shortcut"), f"{down}.0", f"{down}.1", bias)
    return table


def resnet(config: ResNetConfig) -> Table:
    """A torchvision ResNet as the variables of `vos_jax.nn.resnet.ResNet`."""
    stages = {2: "layer1", 3: "layer2", 4: "layer3"}
    stem = conv_norm(("stem",), "conv1", "bn1")
    return {**stem, **trunk(("trunk",), "", config, stages)}
