"""How RDE-VOS (Li et al., CVPR 2022) and STCN, its base, are trained.

    section  equation  what                          here
    3.3                both memories of a clip       `unroll`
    3.3      7         unbiased guidance, L_UG       `channel_divergence` in `unroll`
    3.3      8         mask consistency, L_MC        `channel_divergence` in `unroll`
    3.3      9         segmentation, L_seg           `RDELoss.sums`
    3.3      10        total                         `RDELoss.sums`

A clip has two memories. One keeps every frame, and is what STCN has. The other one is
the recurrent embedding that SAM carries on. Odd frames are read from the first one;
even ones from both: the embedding's result is supervised (student), and what it reads
is guided to what is read from all frames (teacher), whose masks are remembered.

Where paper and released program differ this is the program: the frames' losses are
halved one after the other, targets are not detached, keys have no correction loss, and
what is guided includes the query's own features.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.methods.objective import ClipLoss, ClipSums, StepConfig, frame_loss_at
from vos_jax.methods.stcn.model import STCN, Kept, Query
from vos_jax.nn.encoders import KeyValue
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.losses import cross_entropy, known_labels, soft_iou
from vos_jax.ops.padding import crop, pad
from vos_jax.ops.soft_aggregation import soft_aggregate
from vos_jax.types import ClipBatch


@dataclass(frozen=True, kw_only=True)
class RDELoss:
    """An `Objective` for networks that are an `STCN`; the defaults are RDE-VOS's.

    A batch's loss is the mean over its clips. With both weights 0 and `halved=False` it
    is STCN's, the sum over the frames. With `remat` frames are encoded one after the
    other, and every part is computed again in the backward pass.

    Attributes:
      guidance: Weight of L_UG, which guides the recurrent embedding; 0 leaves it out.
        Needs a network that has one.
      correction: Weight of L_MC, which asks for the same values from perturbed first
        masks as from the true ones; 0 leaves it out. Needs clips with such masks.
      halved: The n-th of N frames counts 1 / 2^(N - n + 1); else each counts 1.
      teacher: Frames that are read from the memory of every frame alone count in L_seg
        (the STM item of table 6). Without, those that the recurrent embedding is read
        for keep their shares.
    """

    guidance: float = 10.0
    correction: float = 10.0
    halved: bool = True
    teacher: bool = True

    def __post_init__(self) -> None:
        for name in ("guidance", "correction"):
            value = getattr(self, name)
            is_number = type(value) in (int, float) and math.isfinite(value)
            if not is_number or value < 0:
                raise InputError(
                    f"objective {name}={value!r}: use a finite number, 0 or more"
                )
        for name in ("halved", "teacher"):
            if type(getattr(self, name)) is not bool:
                value = getattr(self, name)
                raise InputError(f"objective {name}={value!r}: use True or False")

    def __call__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        clip: ClipBatch,
        key: Array,
        config: StepConfig,
        step: Int[Array, ""] | int = 0,
        clip_loss: ClipLoss | None = None,
    ) -> ClipSums:
        """Of one clip, which `unroll` unrolls and not `clip_loss`; see `Objective`.

        Raises:
          InputError: The clip has a single frame, a loss needs what is not there, the
            step asks for true masks in the memory, or videos would be segmented by
            functions that are not trained.
        """
        if config.memory_mask != "pred":
            raise InputError(
                f"step memory_mask={config.memory_mask!r}: the objective remembers the"
                " masks that the network finds; use pred"
            )
        network = self._check(method, clip)
        found = unroll(network, variables, clip, remat=config.remat)
        return self.sums(found, clip, config, step)

    def sums(
        self,
        found: "Unrolled",
        clip: ClipBatch,
        config: StepConfig,
        step: Int[Array, ""] | int = 0,
    ) -> ClipSums:
        """Of what `unroll` gives for a clip; the terms add up to the loss.

        `L_seg + guidance * sum L_UG + correction * sum L_MC` (eq. 10); L_seg sums the
        frames' losses by their shares (eq. 9).
        """
        labels = known_labels(clip.labels, clip.valid)[1:]
        losses = jax.vmap(cross_entropy)(found.logits, labels)
        each = jax.vmap(frame_loss_at(config, step))(losses)
        probs = jax.nn.softmax(lax.stop_gradient(found.logits), axis=1)
        overlap = jax.vmap(soft_iou)(probs, labels)
        terms = {"segmentation": (self._shares(len(each)) * each).sum()}
        if self.guidance:
            terms["guidance"] = self.guidance * found.guidance.sum()
        if self.correction:
            terms["correction"] = self.correction * found.correction.sum()
        return ClipSums(
            loss=sum(terms.values(), jnp.float32(0)),
            frames=jnp.float32(1),
            iou=overlap.value.sum(),
            objects=overlap.counted.sum().astype(jnp.float32),
            terms=terms,
        )

    def _shares(self, count: int) -> Float[Array, " n"]:
        """What each frame counts; where they are halved, the paper has 1/2 for all."""
        shares = jnp.ones(count)
        if self.halved:
            shares = 0.5 ** jnp.arange(count, 0, -1, dtype=jnp.float32)
        # Frames 1, 3 and so on have no other memory.
        return shares if self.teacher else shares * (jnp.arange(count) % 2)

    def _check(self, method: Method, clip: ClipBatch) -> STCN:
        length = clip.frames.shape[0]
        if length < 2:
            raise InputError(
                f"clips of {length} frame: use 2 or more, the first is given"
            )
        if not isinstance(method, STCN):
            raise InputError(
                f"objective: {type(method).__name__} is no STCN or RDE network; leave"
                " the objective out"
            )
        for name in ("read", "segment", "memorize"):
            if getattr(type(method), name) is not getattr(STCN, name):
                raise InputError(
                    f"objective: {type(method).__name__} has a `{name}` of its own,"
                    " which training would not call; change `read_entries`, `decode`"
                    " or `encode_value` instead, or leave the objective out"
                )
        if not (self.teacher or _is_recurrent(method)):
            raise InputError(
                "objective teacher=False: the network keeps no recurrent embedding, so"
                " that nothing would count; use one that does"
            )
        if self.guidance and not _is_recurrent(method):
            raise InputError(
                f"objective guidance={self.guidance}: the network keeps no recurrent"
                " embedding; set objective.guidance=0, or use one that does"
            )
        if self.correction and clip.given is None:
            raise InputError(
                f"objective correction={self.correction}: the clips have no perturbed"
                " first masks; set recipe.perturb, or objective.correction=0"
            )
        return method


class Unrolled(NamedTuple):
    """What a clip of T frames gives.

    Attributes:
      logits: Of every frame but the first; of frames 2, 4, ... those that were found
        with the recurrent embedding, where there is one.
      guidance: Divergence between what these frames read from both memories; of each
        object slot, valid or not.
      correction: Divergence of the first frame's values with the masks that were given
        from those with the true masks; of each object slot.
    """

    logits: Float[Array, "n O+1 H W"]
    guidance: Float[Array, "m O"]
    correction: Float[Array, " O"]


def unroll(
    method: STCN, variables: Mapping[str, Any], clip: ClipBatch, *, remat: bool = False
) -> Unrolled:
    """Segments a clip with all memories there are, by the functions of videos.

    Time is unrolled here since a video has one memory, and remembers what it gives out.
    Every read is of all memory cells, whatever the method's `top_k` is. Soft masks are
    remembered, with their gradients; of the first frame the perturbed masks, where the
    clip has some.

    Args:
      method: Whose network.
      variables: Its weights.
      clip: Frames `[T, H, W, 3]`, labels `[T, H, W]`, valid `[O]`, given `[O, H, W]` or
        None.
      remat: Compute everything twice instead of storing it.
    """
    network = _Network(method, variables, remat)
    frames = to_unit_range(clip.frames)
    queries, kept = network.encode(frames)
    height, width = clip.labels.shape[1:]

    def remember(time: int, masks: Array) -> KeyValue:
        return network.remember(frames[time], _at(kept, time), masks)

    true = _first_masks(clip)
    first = remember(0, _pad_masks(true if clip.given is None else clip.given))
    correction = jnp.zeros(len(true))
    if clip.given is not None:
        target = remember(0, _pad_masks(true)).value
        correction = channel_divergence(target, first.value)
    bank, recurrent = [first], first
    all_logits, guidance = [], []
    for time in range(1, len(frames)):
        query = _at(queries, time)
        read = network.read(query, bank)
        logits = supervised = network.segment(read, query, clip.valid)
        if _is_recurrent(method) and time % 2 == 0:
            student = network.read(query, [recurrent])
            supervised = network.segment(student, query, clip.valid)
            guidance.append(
                channel_divergence(*_decoder_inputs(query.thin, read, student))
            )
        all_logits.append(crop(supervised[..., None], height, width)[..., 0])
        if time == len(frames) - 1:
            break
        entry = remember(time, jax.nn.softmax(logits, axis=0)[1:])
        bank.append(entry)
        if _is_recurrent(method):
            recurrent = network.call("aggregate", recurrent, entry)
    guided = jnp.stack(guidance) if guidance else jnp.zeros((0, len(true)))
    return Unrolled(jnp.stack(all_logits), guided, correction)


class _Network(NamedTuple):
    """The functions that segment videos, with the weights.

    Entries of memories have the key that all objects share, `[1, h, w, Ck]`.
    """

    method: STCN
    variables: Mapping[str, Any]
    remat: bool

    def encode(self, frames: Float[Array, "T H W 3"]) -> tuple[Query, Kept]:
        """All frames at once; leaves begin with T."""
        encode = partial(self.call, "encode")
        if self.remat:
            return lax.map(encode, frames)
        return jax.vmap(encode)(frames)

    def remember(
        self, frame: Float[Array, "H W 3"], kept: Kept, masks: Float[Array, "O Hp Wp"]
    ) -> KeyValue:
        """A frame's entry."""
        entry: KeyValue = self.call("encode_value", frame, kept, masks)
        return entry._replace(key=kept.key[None])

    def read(self, query: Query, bank: Sequence[KeyValue]) -> Float[Array, "O h w Cv"]:
        """All cells of some entries, of which videos read the best ones."""
        keys, values = zip(*bank, strict=True)
        entries = KeyValue(jnp.concatenate(keys), jnp.stack(values))
        copies = jnp.ones(len(bank), jnp.int32)
        read: Callable[..., Array] = self.method.bind(self.variables).read_entries
        return read(query, entries, copies, top_k=None)

    def segment(
        self, read: Float[Array, "O h w Cv"], query: Query, valid: Array
    ) -> Float[Array, "O+1 Hp Wp"]:
        """Logits of background and objects."""
        return soft_aggregate(self.call("decode", read, query), valid)

    def call(self, name: str, *args: Any) -> Any:
        """A function of the method, computed twice with `remat`."""
        apply: Callable[..., Any] = partial(self.method.apply, method=name)
        if self.remat:
            apply = jax.checkpoint(apply)
        return apply(self.variables, *args)


def channel_divergence(
    target: Float[Array, "O h w C"], found: Float[Array, "O h w C"]
) -> Float[Array, " O"]:
    """KL(target | found) of what a softmax makes of the channels; eqs. 7 and 8.

    The mean of `p (log p - log q)` over cells and, as in the released program, over
    channels. Gradients reach both.
    """
    target, found = (
        jax.nn.log_softmax(x.astype(jnp.float32), axis=-1) for x in (target, found)
    )
    return (jnp.exp(target) * (target - found)).mean((1, 2, 3))


def _is_recurrent(method: STCN) -> bool:
    return getattr(method.config, "recurrent", False)


def _at(tree: Any, time: int) -> Any:
    return jax.tree.map(lambda x: x[time], tree)


def _first_masks(clip: ClipBatch) -> Float[Array, "O H W"]:
    ids = jnp.arange(1, clip.valid.shape[0] + 1)[:, None, None]
    masks = (clip.labels[:1] == ids) & clip.valid[:, None, None]
    return masks.astype(jnp.float32)


def _pad_masks(masks: Array) -> Float[Array, "O Hp Wp"]:
    return pad(masks.astype(jnp.float32)[..., None])[..., 0]


def _decoder_inputs(thin: Float[Array, "h w Ct"], *reads: Array) -> list[Array]:
    """What the decoder sees of each read."""
    beside = jnp.broadcast_to(thin, (len(reads[0]), *thin.shape))
    return [jnp.concatenate([read, beside.astype(read.dtype)], -1) for read in reads]
