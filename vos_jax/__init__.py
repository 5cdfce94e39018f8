"""vos_jax: semi-supervised video object segmentation by memory networks, in JAX.

Names are loaded when they are first used, so that tools which only read masks or score
them, and their worker processes, do not wait for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vos_jax.errors import InputError, InputWarning

if TYPE_CHECKING:
    from vos_jax.inference.capacity import state_bytes
    from vos_jax.inference.form import inference_form
    from vos_jax.inference.objects import add_masks, remove_object
    from vos_jax.inference.over_devices import over_devices
    from vos_jax.inference.programs.export import export_program
    from vos_jax.inference.programs.load import LoadedProgram, load_program
    from vos_jax.inference.segmenter import FrameResult, VideoSegmenter
    from vos_jax.inference.state import Output, State
    from vos_jax.inference.step import start, step
    from vos_jax.inference.video import segment_video, stream_video
    from vos_jax.methods import METHODS, Entry, create
    from vos_jax.methods.base import Method
    from vos_jax.methods.weights import load_model, load_weights, save_weights
    from vos_jax.types import Proposals

_HOMES = {
    "vos_jax.inference.capacity": ("state_bytes",),
    "vos_jax.inference.objects": ("add_masks", "remove_object"),
    "vos_jax.inference.over_devices": ("over_devices",),
    "vos_jax.inference.form": ("inference_form",),
    "vos_jax.inference.programs.export": ("export_program",),
    "vos_jax.inference.programs.load": ("LoadedProgram", "load_program"),
    "vos_jax.inference.segmenter": ("FrameResult", "VideoSegmenter"),
    "vos_jax.inference.state": ("Output", "State"),
    "vos_jax.inference.step": ("start", "step"),
    "vos_jax.inference.video": ("segment_video", "stream_video"),
    "vos_jax.methods": ("METHODS", "Entry", "create"),
    "vos_jax.methods.base": ("Method",),
    "vos_jax.methods.weights": ("load_model", "load_weights", "save_weights"),
    "vos_jax.types": ("Proposals",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METHODS",
    "Entry",
    "FrameResult",
    "InputError",
    "InputWarning",
    "LoadedProgram",
    "Method",
    "Output",
    "Proposals",
    "State",
    "VideoSegmenter",
    "add_masks",
    "create",
    "export_program",
    "inference_form",
    "load_model",
    "load_program",
    "load_weights",
    "over_devices",
    "remove_object",
    "save_weights",
    "segment_video",
    "start",
    "state_bytes",
    "step",
    "stream_video",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("vos_jax")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'vos_jax' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
