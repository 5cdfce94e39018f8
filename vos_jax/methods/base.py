"""What a method is: five pure functions around a memory that only it understands.

Inference owns time. It calls, for every frame,

    memory = memorize(memory, <the frame before, its masks>, moment)
    query, keep = encode(frame)
    logits, memory = segment(memory, query)

so that a frame is memorised only when the next one arrives: until then its masks may
still be corrected, and the last frame of a video costs nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from vos_jax.errors import InputError
from vos_jax.methods.inputs import InputKind
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.divided import SLOTS, keep_whole
from vos_jax.ops.memory_bank import Moment, placed
from vos_jax.ops.platform import PLATFORMS, Platform
from vos_jax.ops.read_forms import DIVIDED, IMPLEMENTATIONS, Implementation

_SETTING, _LATER = "setting", "later"


def setting(default: Any, *, shown: bool = True, later: bool = False) -> Any:
    """A field that changes how a network computes and not what its weights are.

    Weights serve any value of it. A field that is one stays one in subclasses. What is
    not `shown` is not in `config_text`. A field that earlier versions had not is
    `later`: there where it is not the default.
    """
    metadata = {_SETTING: True, _LATER: later}
    shown = shown and not later
    return dataclasses.field(default=default, repr=shown, metadata=metadata)


def config_text(config: Any) -> str:
    """A configuration in words, by which runs know one another."""
    changes = "".join(
        f", {field.name}={getattr(config, field.name)!r}"
        for field in dataclasses.fields(config)
        if field.metadata.get(_LATER) and getattr(config, field.name) != field.default
    )
    return f"{repr(config)[:-1]}{changes})"


def settings_of(config: Any) -> frozenset[str]:
    """Names of a configuration's fields that are a `setting`."""
    return frozenset(
        field.name
        for kind in type(config).__mro__
        for field in vars(kind).get("__dataclass_fields__", {}).values()
        if _SETTING in field.metadata
    )


def changed(config: Any, **fields: Any) -> Any:
    """A configuration with other values of some fields."""
    return type(config)(**{**vars(config), **fields})


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """What the configuration of every method that reads a memory has.

    Attributes:
      top_k: Read only the k best memory cells of each query cell; None reads all.
      read: Implementation of the read.
      dtype: Compute type; parameters and softmax stay float32.
      precision: Of float32 products, "highest", "high" or "default".
      platform: What programs are built for, `"cpu"`, `"cuda"` or `"tpu"`: decides
        between forms that compute the same. None leaves it to the lowering;
        `vos_jax.inference_form` and training name it.
      mesh: Between whose devices the memory is divided, see `vos_jax.over_devices`.
      folded: Norms are folded into the convolutions.
    """

    top_k: int | None = setting(None)
    read: Implementation = setting("auto")
    dtype: str = setting("float32")
    precision: str = setting("highest")
    platform: Platform | None = setting(None, shown=False)
    mesh: Mesh | None = setting(None, shown=False)
    folded: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}: use at least 1, or None for all")
        if self.read not in IMPLEMENTATIONS:
            raise ValueError(f"read={self.read!r}: use one of {list(IMPLEMENTATIONS)}")
        if self.read == "pallas":
            self._check_pallas()
        if self.platform not in (None, *PLATFORMS):
            raise ValueError(
                f"platform={self.platform!r}: use one of {list(PLATFORMS)}, or None"
            )
        if self.mesh is not None:
            self._check_mesh()
        _ = self.numerics

    def _check_mesh(self) -> None:
        if not (isinstance(self.mesh, Mesh) and SLOTS in self.mesh.shape):
            raise ValueError(
                f"mesh={self.mesh!r}: use None, and vos_jax.over_devices to divide a"
                " memory"
            )
        if self.read not in DIVIDED:
            raise InputError(
                f"read={self.read!r}: a memory that is divided between devices is read"
                f" by one of {list(DIVIDED)}"
            )

    def _check_pallas(self) -> None:
        if self.top_k is not None:
            raise ValueError(
                f"read='pallas', top_k={self.top_k}: this kernel reads all cells; use"
                " top_k=None or read='blocks'"
            )
        if self.platform in ("cpu", "rocm"):
            raise InputError(
                f"read='pallas': there is no kernel for {self.platform}; use 'auto'"
            )

    @property
    def read_options(self) -> dict[str, Any]:
        """What every read of `vos_jax.ops` takes by these names."""
        return {
            "implementation": self.read,
            "platform": self.platform,
            "precision": self.precision,
        }

    @property
    def bank_options(self) -> dict[str, Any]:
        """`read_options`, and what reads of a bank that may be divided take beside."""
        return {**self.read_options, "mesh": self.mesh}

    @property
    def numerics(self) -> Numerics:
        """How the blocks compute."""
        return Numerics(
            dtype=self.dtype,  # type: ignore[arg-type]
            precision=self.precision,  # type: ignore[arg-type]
            folded=self.folded,
            platform=self.platform,
        )


class Encoded(NamedTuple):
    """What a method computes from a frame alone.

    Attributes:
      query: What `segment` needs.
      keep: What `memorize` will want again; carried in the state until then. An empty
        tuple when there is nothing to reuse.
    """

    query: Any
    keep: Any


class Segmentation(NamedTuple):
    """What a method finds in a frame.

    Attributes:
      logits: Of background and objects; their softmax is the result. Float32.
      memory: The memory, changed where reading leaves a trace (tracks, say).
    """

    logits: Float[Array, "O+1 H W"]
    memory: Any


class Method(nn.Module):
    """The interface of every method; see `vos_jax.methods.stm` for a model.

    Subclasses have a frozen, hashable `config` and implement everything below. Nothing
    here knows about batches: `jax.vmap` adds them.
    """

    config: Any = None

    @property
    def platform(self) -> Platform | None:
        """What its programs are built for; None leaves it to the lowering."""
        platform: Platform | None = getattr(self.config, "platform", None)
        return platform

    @property
    def keeps_inactive(self) -> bool:
        """Whether `memorize` leaves banks as they are for objects that are not active.

        On accelerators a frame that is not due is memorised as well, since that takes
        less than to ask, and what it left is put back. Where this is True such frames
        come with no object active, and banks need not be put back, which copies them.
        """
        return False

    @property
    def mesh(self) -> Mesh | None:
        """Between whose devices its memory is divided; None for one device."""
        mesh: Mesh | None = getattr(self.config, "mesh", None)
        return mesh

    @property
    def undivided(self) -> str | None:
        """Why its memory cannot be divided between devices; None where it can.

        Then `memory.bank` is what is divided, and all else is on every device. A read
        that takes no `mesh` finds the same, but the compiler may bring the bank
        together for it.
        """
        return "it does not say how its memory could be"

    def check_divided(self, devices: int) -> None:
        """Checks that its memory can be divided between so many devices.

        Raises:
          InputError: It cannot.
        """
        if devices > 1 and self.undivided is not None:
            raise InputError(
                f"{type(self).__name__}: its memory cannot be divided between devices:"
                f" {self.undivided}"
            )

    def divided(self, mesh: Mesh | None) -> "Method":
        """The same method with its memory divided, see `vos_jax.over_devices`.

        Raises:
          InputError: It cannot be.
        """
        if mesh is self.mesh:
            return self
        self.check_divided(1 if mesh is None else mesh.size)
        return self.clone(config=changed(self.config, mesh=mesh))

    def place(self, memory: Any) -> Any:
        """A memory where its programs want it: divided between devices, or as it is."""
        if self.mesh is None:
            return memory
        bank = placed(memory.bank, self.mesh)
        rest = keep_whole(self.mesh, memory._replace(bank=None))
        return rest._replace(bank=bank)

    def built_for(self, platform: Platform | None) -> "Method":
        """The same method with its programs for a platform, or for that of lowering."""
        if not hasattr(self.config, "platform"):
            return self
        return self.clone(config=changed(self.config, platform=platform))

    @property
    def inputs(self) -> InputKind | None:
        """What it takes with every frame beside the frame; None for nothing."""
        return None

    @property
    def parts(self) -> Mapping[str, Callable[..., Any]]:
        """What `segment` does after the read, in this order, for benchmarks to time.

        Each is a function of the bound module, the arguments of `segment`, and what the
        one before returned; the first gets what `read` did. None by default.
        """
        return {}

    @property
    def reported_s(self) -> Mapping[str, float]:
        """Seconds a frame that the paper reports, by stage, on hardware of its own."""
        return {}

    def as_twins(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Random parameters, with those that see the same made the same.

        None where the method has no such parts of its own: then it may have two
        encoders, as STM has.
        """
        return None

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Any:
        """An empty memory for frames of `height` x `width`.

        Leaves may only grow at the end of an axis when `objects` or `slots` grows: a
        memory is enlarged by laying the old one into the corner of a new one. All
        history of an object that `forget` must clear lives in `Bank`s.
        """
        raise NotImplementedError

    @property
    def most_slots(self) -> int:
        """Slots of an endless video; the bound of a method with a fixed capacity."""
        return self.slots(1 << 40)

    @property
    def most_filled(self) -> int | None:
        """Slots that may be filled of a bank that divides by having more; None: all."""
        return None if self.mesh is None else self.most_slots

    def slots(self, frames: int) -> int:
        """Slots that a video of `frames` frames fills; the bank starts that large."""
        raise NotImplementedError

    def due(self, memory: Any, moment: Moment) -> bool | Bool[Array, ""]:
        """Whether this frame is memorised at all; a plain True when every frame is."""
        raise NotImplementedError

    def encode(self, frame: Float[Array, "H W 3"]) -> Encoded:
        """Encodes a frame, RGB in [0, 1], of any size."""
        raise NotImplementedError

    def read(self, memory: Any, query: Any, active: Bool[Array, " O"]) -> Any:
        """What the memory says at every query cell; the part that benchmarks time.

        `segment` calls it, and a variant with another read overrides it alone.
        """
        raise NotImplementedError

    def segment(
        self,
        memory: Any,
        query: Any,
        frame: Float[Array, "H W 3"],
        active: Bool[Array, " O"],
        inputs: Any = None,
    ) -> Segmentation:
        """Segments a frame from its `query`; `inputs` is what else a method takes."""
        raise NotImplementedError

    def memorize(
        self,
        memory: Any,
        frame: Float[Array, "H W 3"],
        keep: Any,
        probs: Float[Array, "O+1 H W"],
        moment: Moment,
    ) -> Any:
        """Puts a frame and its soft masks (background first) into the memory."""
        raise NotImplementedError

    def __call__(
        self, frame: Float[Array, "H W 3"], masks: Float[Array, "O H W"]
    ) -> Float[Array, "O+1 H W"]:
        """Segments a frame from itself; touches every parameter, for `init`.

        What else the method takes is the example of its `inputs`.
        """
        everything = jnp.ones(masks.shape[0], bool)
        moment = Moment(jnp.int32(0), everything, everything, jnp.bool_(False))
        masks = masks.astype(jnp.float32)
        background = jnp.clip(1 - masks.sum(0, keepdims=True), 0, 1)
        probs = jnp.concatenate([background, masks])
        height, width, _ = frame.shape
        memory = self.init_memory(height, width, masks.shape[0], self.slots(1))
        query, keep = self.encode(frame)
        memory = self.memorize(memory, frame, keep, probs, moment)
        kind = self.inputs
        inputs = None if kind is None else kind.example((height, width))
        return self.segment(memory, query, frame, everything, inputs).logits
