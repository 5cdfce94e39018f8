r"""STM with a bounded memory whose rule of forgetting is learned.

    python examples/learned_eviction.py    # trains the rule and tests it
    vos-jax segment my.mp4 --mask first.png --method learned_eviction.py \
        --weights stm-tiny --set mem_capacity=5 --out out

Weights of STM fit: the rule is four numbers of the configuration, and those learned
somewhere else are given with `--set "rule=(1.0, 0.0, 0.0, 0.0)"`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vos_jax
from vos_jax.data.synthetic import generate_clip
from vos_jax.methods import stm
from vos_jax.methods.base import setting
from vos_jax.ops import memory_bank
from vos_jax.ops.losses import cross_entropy, mean_loss, soft_iou
from vos_jax.ops.memory_bank import KEPT
from vos_jax.ops.read import space_time_usage

OLDEST = (1.0, 0.0, 0.0, 0.0)
"""STM's own rule: of the features below, age alone."""

LEARNED = (-0.47, 1.74, 1.58, -0.43)
"""What the command above ends with."""


@dataclass(frozen=True, kw_only=True)
class LearnedEvictionConfig(stm.STMConfig):
    """STM's, and the rule.

    Attributes:
      rule: Weights of a kept frame's age, of how much it is read, of its likeness to
        the new frame and to the kept frame that it is most like. The frame with the
        largest sum gives way.
    """

    mem_capacity: int | None = setting(5)
    rule: tuple[float, ...] = setting(LEARNED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rule) != len(OLDEST):
            raise ValueError(f"rule={self.rule}: use {len(OLDEST)} numbers")


class Entry(NamedTuple):
    """STM's, and the share of all weights of reads that it got so far, `[O]`."""

    key: Any
    value: Any
    usage: Any


class LearnedEviction(stm.STM):
    """Space-time memory network that chooses what it forgets."""

    config: LearnedEvictionConfig = LearnedEvictionConfig()

    def empty_entry(self, objects, rows, columns):
        """STM's, not read yet."""
        return Entry(*super().empty_entry(objects, rows, columns), jnp.zeros(objects))

    def make_entry(self, features):
        """STM's, not read yet."""
        key, value = super().make_entry(features)
        return Entry(key, value, jnp.zeros(len(key)))

    def read(self, memory, query, active):
        """STM's, and the usage of each slot."""
        (key, value, _), filled = memory.bank.entries, memory.bank.filled
        options = {"top_k": self.config.top_k, **self.config.read_options}
        return space_time_usage(query.key, key, value, filled, **options)

    def decode(self, retrieved, own, query, inputs=None):
        """STM's."""
        return super().decode(retrieved[0], own, query, inputs)

    def leave_trace(self, memory, retrieved):
        """Adds up how much each slot is read."""
        bank, usage = memory.bank, retrieved[1].mean((-2, -1))
        entries = bank.entries._replace(usage=bank.entries.usage + usage)
        return memory._replace(bank=bank._replace(entries=entries))

    def write(self, bank, entry, moment):
        """STM's, but the kept frame with the largest score gives way."""
        policy = self.config.policy
        if bank.capacity == KEPT:
            return memory_bank.write(bank, policy, entry, moment)
        # While it is learned the rule is a variable.
        learns = self.has_variable("rule", "weights")
        rule = self.get_variable("rule", "weights") if learns else self.config.rule
        scores = features_of(bank, entry, moment) @ jnp.asarray(rule)
        evicted = KEPT + jnp.argmax(scores)
        new = memory_bank.write(bank, policy, entry, moment, evicted)
        if not learns:
            return new
        is_evicting = memory_bank.is_evicting(bank, policy, moment)
        chances = jax.nn.softmax(scores) * is_evicting

        def straight_through(new, old, own):
            """What was done, with the gradient of doing a little of each."""
            moved = jax.lax.stop_gradient(own[None] - old[KEPT:])
            moved *= chances.reshape(-1, *[1] * own.ndim)
            return new.at[KEPT:].add(moved - jax.lax.stop_gradient(moved))

        entries = jax.tree.map(straight_through, new.entries, bank.entries, entry)
        return new._replace(entries=entries)


def features_of(bank, entry, moment):
    """What the rule weighs of each kept frame, `[R, 4]`: mean 0 and spread 1 each."""
    kept, time = jax.tree.map(lambda x: x[KEPT:], (bank.entries, bank.time))
    age = jnp.maximum(moment.time - time, 1)
    own, new = unit(kept.key), unit(entry.key)
    like_new = jnp.einsum("rohwc,ohwc->ro", own, new)
    like_kept = jnp.einsum("rohwc,sohwc->rso", own, own)
    like_kept -= 1e9 * jnp.eye(len(age))[..., None]
    found = jnp.stack([age, kept.usage / age, like_new, like_kept.max(1)], -1)
    counts = moment.active[None] & (time >= 0)
    found = jnp.where(counts[..., None], found, 0).sum(1)
    found = jax.lax.stop_gradient(found / jnp.maximum(counts.sum(1), 1)[:, None])
    return (found - found.mean(0)[None]) / (found.std(0) + 1e-6)[None]


def unit(key):
    """Keys of length 1."""
    return key / jnp.maximum(jnp.linalg.norm(key, axis=-1, keepdims=True), 1e-6)


entry = stm.ENTRIES["stm"]._replace(
    module=LearnedEviction,
    config=LearnedEvictionConfig(),
    reads=("stm", "stm-tiny"),
)


def unrolled(method, variables, frames, labels, rule=None):
    """Loss and IoU of a clip, means over its frames."""
    if rule is not None:
        variables = {**variables, "rule": {"weights": rule}}
    begin = partial(vos_jax.start, ids=(1, 2), frames=len(frames))
    state = begin(method, variables, frames[0], labels[0])

    def body(state, frame):
        image, truth = frame
        state, out = vos_jax.step(method, variables, state, image)
        # Gradients go through what is remembered, not through the masks found: neither
        # encoder is differentiated, which saves most of the time.
        state = state._replace(probs=jax.lax.stop_gradient(state.probs))
        hard = jax.nn.one_hot(out.labels, 3, axis=0)
        return state, (
            mean_loss(cross_entropy(out.logits, truth)),
            soft_iou(hard, truth),
        )

    _, (loss, iou) = jax.lax.scan(body, state, (frames[1:], labels[1:].astype(int)))
    return loss.mean(), iou.value.sum() / jnp.maximum(iou.counted.sum(), 1)


def make_clips(seed, count, frames, size):
    """So many clips of two objects, which turn, or leave and come back."""
    clips = []
    while len(clips) < count:
        theme = ("turning", "leaving")[seed % 2]
        clip = generate_clip(seed, frames, size, 2, theme=theme)
        seed += 1
        if {1, 2} <= set(np.unique(clip.labels[0])):
            clips.append((clip.frames, clip.labels))
    return tuple(map(np.stack, zip(*clips, strict=True)))


def learn(model, clips, steps, batch, rate=0.3):
    """Gradient descent in steps of one length, from the rule that the oldest goes."""

    def loss(rule, frames, labels):
        of_clip = partial(unrolled, *model, rule=rule)
        return jax.vmap(of_clip)(frames, labels)[0].mean()

    differentiate = jax.jit(jax.value_and_grad(loss))
    draw, rule = np.random.default_rng(0), jnp.array(OLDEST)
    for step in range(steps):
        chosen = draw.choice(len(clips[0]), batch, replace=False)
        value, slope = differentiate(rule, *(x[chosen] for x in clips))
        rule = rule - rate * slope / jnp.maximum(jnp.linalg.norm(slope), 1e-12)
        print(
            f"step {step + 1}: loss {value:.4f}, rule {np.asarray(rule).round(2)}",
            flush=True,
        )
    return tuple(np.asarray(rule, float).round(2).tolist())


def study(train=16, test=32, frames=24, size=(64, 96), steps=12, batch=4):
    """Learns a rule, and the IoU of each held-out clip by it and by others."""
    path = str(Path(__file__))
    options = {"mem_every": 2, "mem_capacity": 5}
    model = vos_jax.load_model(path, "stm-tiny", **options)
    rule = learn(model, make_clips(1000, train, frames, size), steps, batch)
    held_out, found = make_clips(5000, test, frames, size), {}
    for name, changes in {
        "the oldest goes": {**options, "rule": OLDEST},
        "the newest goes": {**options, "rule": tuple(-x for x in OLDEST)},
        "learned": {**options, "rule": rule},
        "nothing goes": {**options, "mem_capacity": None},
    }.items():
        model = vos_jax.load_model(path, "stm-tiny", **changes)
        of_clips = jax.jit(jax.vmap(partial(unrolled, *model)))
        found[name] = np.asarray(of_clips(*held_out)[1])
    return rule, found


def main():
    """Prints the rule, and means with standard errors over the held-out clips."""
    rule, found = study()
    today = found["the oldest goes"]
    for name, iou in found.items():
        gain = iou - today
        spread = gain.std(ddof=1) / len(gain) ** 0.5
        print(
            f"{name}: IoU {iou.mean():.4f}, spread over clips {iou.std(ddof=1):.3f},"
            f" gain {gain.mean():+.4f} +- {spread:.4f}"
        )
    print(f'--set "rule={rule}"')


if __name__ == "__main__":
    main()
