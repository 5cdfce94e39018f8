"""Where each parameter of DMN-AOA stands in a PyTorch checkpoint.

None was published. ResNets are named as torchvision's, modules after the paper's parts.
"""

from vos_jax.methods import torch_names
from vos_jax.methods.dmn_aoa.config import DMNAOAConfig


def torch_table(config: DMNAOAConfig) -> torch_names.Table:
    """Where each parameter stands in a checkpoint that names ResNets as torchvision."""
    stages = {2: "layer1", 3: "layer2", 4: "layer3"}
    source = "backbone"
    table = torch_names.conv_norm(
        ("backbone", "stem"), f"{source}.conv1", f"{source}.bn1"
    )
    table |= torch_names.trunk(("backbone", "trunk"), source, config.backbone, stages)
    for stage in (2, 3, 4):
        name = f"{source}.reduce.res{stage}"
        path = ("reduce", f"res{stage}_conv"), ("reduce", f"res{stage}_norm")
        table |= torch_names.kernel(path[0], f"{name}.conv")
        table |= torch_names.group_norm(path[1], f"{name}.norm")
    if config.use_dmn:
        table |= torch_names.conv(("memory_encoder", "key"), "dmn.mem_key")
        table |= torch_names.conv(("memory_encoder", "value"), "dmn.mem_value")
        table |= torch_names.conv(("query_encoder",), "dmn.query")
    if config.use_matcher:
        table |= _projector(("matcher", "project_template"), "aoa.proj_t")
        table |= _projector(("matcher", "project_proposal"), "aoa.proj_p")
    else:
        for layer, name in (("conv", "conv"), ("predict", "pred")):
            table |= torch_names.conv(("mask_head", layer), f"mask_head.{name}")
        table |= torch_names.group_norm(("mask_head", "norm"), "mask_head.norm")
    return table | _refine_net() if config.use_refinenet else table


def _projector(path: tuple[str, ...], name: str) -> torch_names.Table:
    """Rows of a `Projector`."""
    return {
        **torch_names.conv((*path, "conv1"), f"{name}.conv1"),
        **torch_names.group_norm((*path, "norm"), f"{name}.norm"),
        **torch_names.conv((*path, "conv2"), f"{name}.conv2"),
    }


def _refine_net() -> torch_names.Table:
    """Rows of RefineNet."""
    path, source = ("refine_net",), "refine"
    table = _projector((*path, "project_current"), f"{source}.proj_cur")
    table |= _projector((*path, "project_reference"), f"{source}.proj_ref")
    for stage in (4, 3, 2):
        here, name = (*path, f"block{stage}"), f"{source}.block{stage}"
        table |= torch_names.conv((*path, f"conv{stage}"), f"{name}.conv")
        table |= torch_names.group_norm((*here, "norm"), f"{name}.norm")
        for block in ("res_out",) if stage == 4 else ("res_in", "res_out"):
            table |= torch_names.res_block((*here, block), f"{name}.{block}")
            for norm in ("norm1", "norm2"):
                norm_name = f"{name}.{block}.{norm}"
                table |= torch_names.group_norm((*here, block, norm), norm_name)
    return table | torch_names.conv((*path, "predict"), f"{source}.pred")
