r"""STCN on video: BL30K, then DAVIS 2017 and YouTube-VOS; or the latter at once.

    vos-jax train stcn/main:bl30k --data DATA --workdir runs/stcn_bl30k \
        --set grown_from=runs/stcn_pretrain/weights.safetensors
    vos-jax train stcn/main --data DATA --workdir runs/stcn_main \
        --set weights=runs/stcn_bl30k/weights.safetensors
    vos-jax train stcn/main:without_bl30k --data DATA --workdir runs/stcn_main_only \
        --set grown_from=runs/stcn_pretrain/weights.safetensors

Three frames, two objects, the sum of both frames' losses, batches of 8 on 2 GPUs.
Values are those of the released program, but for those that are marked as ours.
"""

from vos_jax.data.augmentation import Affine
from vos_jax.data.colour import Colour
from vos_jax.data.recipes import JumpRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_DATA = (
    DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
    ),
    DataConfig(source="youtube-vos", folder="YouTubeVOS"),
)
_BL30K = (DataConfig(source="bl30k", folder="BL30K"),)
# Growing in the first 40 % of the epochs.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25))


def experiment() -> Experiment:
    """Stage 2, from the weights of BL30K."""
    return _stage(_DATA, 300_000, milestone=250_000)


def bl30k() -> Experiment:
    """Stage 1, from the weights of still images."""
    return _stage(_BL30K, 500_000, milestone=400_000, last=0.8, smallest=0.5)


def without_bl30k() -> Experiment:
    """Stage 3, from the weights of still images."""
    return _stage(_DATA, 150_000, milestone=125_000)


def _stage(
    data: tuple[DataConfig, ...],
    steps: int,
    *,
    milestone: int,
    last: float = 0.9,
    smallest: float = 0.6,
) -> Experiment:
    """A stage.

    Args:
      data: Of it.
      steps: Of it.
      milestone: Step at which the rate is divided by 10.
      last: Share of the steps from which on jumps are small again.
      smallest: Side of the smallest window, as a share of the frame's.
    """
    jumps = tuple((round(share * steps), jump) for share, jump in (*_JUMPS, (last, 5)))
    return Experiment(
        method="stcn",
        data=data,
        recipe=JumpRecipe(
            frames=3,
            size=(384, 384),
            objects=2,
            jumps=jumps,
            spacious=False,
            reverse=0.5,
            flip=0.5,
            # By area, and of other aspects; each side is ours, see `JumpRecipe`.
            cover=(smallest, 1.0),
            frame_affine=Affine(rotation=15, shear=10),
            clip_colour=Colour(
                brightness=0.1, contrast=0.03, saturation=0.03, grey=0.05
            ),
            frame_colour=Colour(brightness=0.01, contrast=0.01, saturation=0.01),
        ),
        batch=8,
        steps=steps,
        optimizer=OptimizerConfig(
            name="adam",
            learning_rate=1e-5,
            schedule="step",
            milestones=(milestone,),
            decay=0.1,
            weight_decay=1e-7,
            decay_norms_and_biases=True,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
        ),
        objective=RDELoss(guidance=0.0, correction=0.0, halved=False),
        step=StepConfig(
            loss="bootstrapped",
            bootstrap_start=20_000,
            bootstrap_end=70_000,
            bootstrap_fraction=0.15,
            memory_mask="pred",
            norms="frozen",
        ),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=10_000,
        checkpoint_every=2_000,
    )
