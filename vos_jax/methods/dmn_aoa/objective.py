"""How DMN-AOA (Liang et al., ICCV 2021) is trained: sec. 4.1.

A clip is unrolled as a video is segmented: its first masks are given, and every later
frame reads what the network found before. The paper names the cross entropy alone.
Ours is that coarse masks have one of their own: without it they reach a loss only
through RefineNet, which can do without them. `coarse_loss_weight=0` is the paper's.

Early predictions are useless as queries, so that pre-training has true boxes.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.methods.dmn_aoa.config import MEMORY_SAMPLING
from vos_jax.methods.dmn_aoa.model import DMNAOA
from vos_jax.methods.dmn_aoa.proposals import TrainingInputs
from vos_jax.methods.objective import ClipLoss, ClipSums, StepConfig, frame_loss_at
from vos_jax.ops.boxes import mask_overlaps, tight_boxes
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.losses import cross_entropy, known_labels, soft_iou
from vos_jax.ops.matching import assign_greedily
from vos_jax.ops.memory_bank import Moment
from vos_jax.types import IGNORE, ClipBatch, Proposals

Boxes = Literal["given", "predicted"]
"""`given`: of true masks, those of queries moved; `predicted`: of what was found."""

ClipMemory = Literal["all", "first", "prev", "first+prev"]
"""Which earlier frames of a clip are read."""

MatchLoss = Literal["squared", "cross_entropy"]
"""`squared`: of similarities from the assignment; `cross_entropy`: of which is best."""

_SHARPNESS = 20.0
"""Of similarities, which differ by a few hundredths, in their cross entropy."""

_LEAST = 0.01
"""Of a coarse mask in its cross entropy, and of its background."""


@dataclass(frozen=True, kw_only=True)
class DMNAOALoss:
    """An `Objective`: cross entropies of the final and of the coarse masks.

    Each is a mean over pixels that count, that of the coarse masks also over objects.
    Without RefineNet the coarse masks are all there is, and their own cross entropy,
    which has a gradient where they are exactly 0 or 1, is the loss by itself.

    Attributes:
      boxes: `given` in pre-training, `predicted` in main training.
      box_shift: With given boxes: how far each side of a query's box is moved at most,
        as a share of the box's size.
      memory: Ours is that all earlier frames are read in training. The others train the
        rows of the paper's table 3 that compare memories.
      coarse_loss_weight: Of the cross entropy of coarse masks; 0 for the paper's loss.
      match_loss_weight: Of what draws similarities to the greedy assignment of
        proposals to objects by true overlap.
      match_loss: `squared` is DMM-Net's, their mean squared distance from it;
        `cross_entropy` is ours, of the assigned proposals among all of a frame. It has
        no opinion of how large similarities are, which a random start unlearns first,
        and with it what they differ by.
      n_grad: Gradient steps of the matching layer, which has more of them in tests.
      n_proj: Rounds of projections after each.
      most_proposals: Of a frame, the best ones: fewer take less time. None for all.
    """

    boxes: Boxes = "predicted"
    box_shift: float = 0.1
    memory: ClipMemory = "all"
    coarse_loss_weight: float = 1.0
    match_loss_weight: float = 0.0
    match_loss: MatchLoss = "squared"
    n_grad: int = 10
    n_proj: int = 5
    most_proposals: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("boxes", Boxes),
            ("memory", ClipMemory),
            ("match_loss", MatchLoss),
        ):
            if (value := getattr(self, name)) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise InputError(f"objective {name}={value!r}: use one of {known}")
        for name in ("box_shift", "coarse_loss_weight", "match_loss_weight"):
            value = getattr(self, name)
            is_number = type(value) in (int, float) and math.isfinite(value)
            if not is_number or value < 0:
                raise InputError(
                    f"objective {name}={value!r}: use a finite number, 0 or more"
                )
        if self.box_shift >= 0.5:
            raise InputError(
                f"objective box_shift={self.box_shift!r}: use less than 0.5, or no box"
                " would be left"
            )
        for name in ("n_grad", "n_proj", "most_proposals"):
            value = getattr(self, name)
            if value is None and name == "most_proposals":
                continue
            if type(value) is not int or value < 1:
                raise InputError(
                    f"objective {name}={value!r}: use a whole number of at least 1"
                )

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
        """Of one clip, which is unrolled here and not by `clip_loss`; see `Objective`.

        Raises:
          InputError: The clip has a single frame or lacks what the network takes with
            each, the method is not DMN-AOA, or the step asks for true masks in the
            memory.
        """
        if config.memory_mask != "pred":
            raise InputError(
                f"step memory_mask={config.memory_mask!r}: the objective remembers the"
                " masks that the network finds; use pred"
            )
        network = self._trained(method, clip)
        labels = known_labels(clip.labels, clip.valid)
        truth = _true_boxes(labels, len(clip.valid)) if self.boxes == "given" else None
        query_boxes = None if truth is None else self.move(truth.boxes[:-1], key)
        frames = to_unit_range(clip.frames)

        def apply(name: str, *args: Any) -> Any:
            return network.apply(variables, *args, method=name)

        encode = partial(apply, "encode")
        encoded = lax.map(encode, frames) if config.remat else jax.vmap(encode)(frames)
        keep = encoded.keep
        if truth is not None:
            keep = keep._replace(boxes=truth.boxes, shows=truth.shows)
        score = partial(self._score, network, config, step, clip.valid)

        def body(seen: _Seen, frame: _Frame) -> tuple[_Seen, ClipSums]:
            moment = Moment(
                frame.time,
                clip.valid,
                clip.valid & (frame.time == 0),
                jnp.bool_(False),
            )
            memory = apply(
                "memorize", seen.memory, frame.before, frame.keep, seen.probs, moment
            )
            inputs = frame.inputs
            if frame.query_boxes is not None:
                inputs = TrainingInputs(inputs, frame.query_boxes)
            logits, memory = apply(
                "segment", memory, frame.query, frame.image, clip.valid, inputs
            )
            probs = jax.nn.softmax(logits, axis=0)
            return _Seen(memory, probs), score(frame, logits, memory)

        length, height, width = labels.shape
        unroll = config.unrolled(method.platform, length - 1)
        if config.remat:
            body = jax.checkpoint(body, prevent_cse=unroll)
        memory = network.init_memory(
            height, width, len(clip.valid), network.slots(length - 1)
        )
        before, later = (partial(_frames, part) for part in _BEFORE_AND_LATER)
        places = _Frame(
            time=jnp.arange(length - 1),
            before=before(frames),
            keep=before(keep),
            image=later(frames),
            query=later(encoded.query),
            labels=later(labels),
            inputs=jax.tree.map(lambda x: x[:, : self.most_proposals], clip.inputs),
            query_boxes=query_boxes,
        )
        seen = _Seen(memory, _first_probs(labels[0], len(clip.valid)))
        _, sums = lax.scan(body, seen, places, unroll=unroll or 1)
        return jax.tree.map(lambda x: x.sum(0), sums)

    def move(self, boxes: Float[Array, "n O 4"], key: Array) -> Float[Array, "n O 4"]:
        """Boxes with each side moved at random, by a share of their sizes."""
        size = boxes[..., 2:] - boxes[..., :2]
        share = jax.random.uniform(
            key, boxes.shape, minval=-self.box_shift, maxval=self.box_shift
        )
        return boxes + share * jnp.concatenate([size, size], axis=-1)

    def _trained(self, method: Method, clip: ClipBatch) -> DMNAOA:
        """The network as it is trained."""
        if not isinstance(method, DMNAOA):
            raise InputError(
                f"objective: {type(method).__name__} is no DMN-AOA network; leave the"
                " objective out"
            )
        if len(clip.frames) < 2:
            raise InputError(
                f"clips of {len(clip.frames)} frame: use 2 or more, the first is given"
            )
        if method.inputs is not None and clip.inputs is None:
            raise InputError(
                f"objective: the clips have no {method.inputs.name}; name them with"
                " data.inputs"
            )
        trained = dataclasses.replace(
            method.config,
            **MEMORY_SAMPLING[self.memory],
            mem_capacity=None,
            n_grad=self.n_grad,
            n_proj=self.n_proj,
            late_objects=False,
            keep_coarse=True,
        )
        return method.clone(config=trained)

    def _score(
        self,
        network: DMNAOA,
        config: StepConfig,
        step: Int[Array, ""] | int,
        valid: Bool[Array, " O"],
        frame: "_Frame",
        logits: Float[Array, "O+1 H W"],
        memory: Any,
    ) -> ClipSums:
        """Losses and overlap of a frame; the terms add up to the loss."""
        frame_loss = frame_loss_at(config, step)
        losses = cross_entropy(logits, frame.labels)
        coarse = coarse_loss(memory.coarse, frame.labels, valid)
        terms = {}
        if not network.config.use_refinenet:
            terms["coarse"] = coarse
        else:
            terms["segmentation"] = frame_loss(losses)
            if self.coarse_loss_weight:
                terms["coarse"] = self.coarse_loss_weight * coarse
        if self.match_loss_weight and network.config.use_matcher:
            terms["matching"] = self.match_loss_weight * match_loss(
                memory.similarity, frame.inputs, frame.labels, valid, self.match_loss
            )
        probs = jax.nn.softmax(lax.stop_gradient(logits), axis=0)
        overlap = soft_iou(probs, frame.labels)
        return ClipSums(
            loss=sum(terms.values(), jnp.float32(0)),
            frames=losses.counted.any().astype(jnp.float32),
            iou=overlap.value.sum(),
            objects=overlap.counted.sum().astype(jnp.float32),
            terms=terms,
        )


_BEFORE_AND_LATER = slice(None, -1), slice(1, None)


def _frames(part: slice, tree: Any) -> Any:
    return jax.tree.map(lambda x: x[part], tree)


class _Seen(NamedTuple):
    """What the next frame begins with: the memory, and masks that it has not yet."""

    memory: Any
    probs: Float[Array, "O+1 H W"]


class _Frame(NamedTuple):
    """A frame to segment, and the one before.

    Attributes:
      time: Of the one before.
      before: Its image.
      keep: What `memorize` wants of it.
      image: Of the frame.
      query: What `segment` wants of it.
      labels: True ones, known as far as they count.
      inputs: What else the network takes.
      query_boxes: Where the objects are looked for; None for where they were found.
    """

    time: Int[Array, "*n"]
    before: Float[Array, "*n H W 3"]
    keep: Any
    image: Float[Array, "*n H W 3"]
    query: Any
    labels: Int[Array, "*n H W"]
    inputs: Any
    query_boxes: Float[Array, "*n O 4"] | None


class _Truth(NamedTuple):
    """Boxes of the true masks; the last ones where a mask is empty."""

    boxes: Float[Array, "T O 4"]
    shows: Bool[Array, "T O"]


def _objects(labels: Int[Array, "*b H W"], count: int) -> Bool[Array, "O *b H W"]:
    ids = jnp.arange(1, count + 1).reshape(-1, *[1] * labels.ndim)
    return labels[None] == ids


def _true_boxes(labels: Int[Array, "T H W"], count: int) -> _Truth:
    boxes, shows = tight_boxes(_objects(labels, count).swapaxes(0, 1))
    times = jnp.arange(len(labels))[:, None]
    last = lax.cummax(jnp.where(shows, times, 0), axis=0)
    return _Truth(jnp.take_along_axis(boxes, last[..., None], axis=0), shows)


def _first_probs(labels: Int[Array, "H W"], count: int) -> Float[Array, "O+1 H W"]:
    masks = _objects(labels, count).astype(jnp.float32)
    return jnp.concatenate([1 - masks.sum(0, keepdims=True), masks])


def coarse_loss(
    coarse: Float[Array, "O H W"], labels: Int[Array, "H W"], valid: Bool[Array, " O"]
) -> Float[Array, ""]:
    """Binary cross entropy of coarse masks, over the pixels and objects that count.

    Masks are clipped to what has a finite logarithm and get the gradient of that all
    the same, so that one that is wrong for certain can be undone.
    """
    kept = lax.stop_gradient(jnp.clip(coarse, _LEAST, 1 - _LEAST))
    mask = kept + coarse - lax.stop_gradient(coarse)
    wanted = _objects(labels, len(valid))
    counts = (labels != IGNORE)[None] & valid[:, None, None]
    value = -jnp.log(jnp.where(wanted, mask, 1 - mask))
    return jnp.where(counts, value, 0).sum() / jnp.maximum(counts.sum(), 1)


def match_loss(
    similarity: Float[Array, "O P"],
    proposals: Proposals,
    labels: Int[Array, "H W"],
    valid: Bool[Array, " O"],
    kind: MatchLoss = "squared",
) -> Float[Array, ""]:
    """How far similarities are from the greedy assignment by true overlap.

    `squared`: their mean squared distance from it, over objects and proposals that
    count (DMM-Net, Zeng et al., ICCV 2019, sec. 3.4). `cross_entropy`: of the assigned
    proposal among all that count, a mean over objects weighted by that overlap.
    """
    count = len(proposals.valid)
    masks = proposals.masks & (labels != IGNORE)[None]
    counts = valid[:, None] & proposals.valid[None]
    overlap = mask_overlaps(_objects(labels, len(valid)), masks)
    overlap = jnp.where(counts, overlap, 0)
    target = assign_greedily(overlap)
    similarity = jnp.where(counts, similarity[:, :count], 0)
    if kind == "squared":
        distance = jnp.square(similarity - target)
        return jnp.where(counts, distance, 0).sum() / jnp.maximum(counts.sum(), 1)
    weight = jnp.where(counts, target * overlap, 0)
    logits = jnp.where(proposals.valid[None], _SHARPNESS * similarity, -jnp.inf)
    logits = jnp.where(proposals.valid.any(), logits, 0)
    surprise = jnp.where(weight > 0, -jax.nn.log_softmax(logits, axis=-1), 0)
    total = weight.sum()
    return (weight * surprise).sum() / jnp.where(total > 0, total, 1)
