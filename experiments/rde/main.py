r"""RDE-VOS, the last stage: DAVIS 2017 and YouTube-VOS.

    vos-jax train rde/main --data DATA --workdir runs/rde_yv_bl30k \
        --set weights=runs/rde_bl30k/weights.safetensors
    vos-jax train rde/main:without_bl30k --data DATA --workdir runs/rde_yv \
        --set grown_from=runs/rde_pretrain/weights.safetensors

After BL30K: 75,000 steps of 16 clips, and half the weight of both embeddings' losses,
as in the published command; the paper has 10. Without BL30K: 150,000 steps of 8 clips.
Sections are the paper's (CVPR 2022); what has none is the released program's, or is
marked as ours.
"""

from vos_jax.data.augmentation import Affine
from vos_jax.data.colour import Colour
from vos_jax.data.recipes import JumpRecipe
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.rde.objective import RDELoss
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

# Sec. 4.2; the repeat is the program's.
_DATA = (
    DataConfig(
        source="davis2017", folder="DAVIS", options={"split": "train"}, repeat=5
    ),
    DataConfig(source="youtube-vos", folder="YouTubeVOS"),
)
# Growing in the first 40 % of the epochs, small again for the last tenth.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.9, 5))


def experiment() -> Experiment:
    """Stage 2, from the weights of BL30K."""
    return _stage(
        batch=16,  # sec. 4.2
        steps=75_000,  # sec. 4.2
        milestone=62_500,
        # Sec. 4.2 has 10 for both.
        objective=RDELoss(guidance=5.0, correction=5.0, halved=True),
        bootstrap=(5_000, 17_500),
    )


def without_bl30k() -> Experiment:
    """Stage 3, from the weights of still images; its schedule is the program's."""
    return _stage(
        batch=8,
        steps=150_000,
        milestone=125_000,
        objective=RDELoss(guidance=10.0, correction=10.0, halved=True),
        bootstrap=(20_000, 70_000),
    )


def _stage(
    *,
    batch: int,
    steps: int,
    milestone: int,
    objective: RDELoss,
    bootstrap: tuple[int, int],
) -> Experiment:
    """What both stages share; `bootstrap` are first and last step of the annealing."""
    return Experiment(
        method="rde",
        data=_DATA,
        recipe=JumpRecipe(
            frames=5,  # sec. 4.2
            size=(384, 384),
            objects=2,
            jumps=tuple((round(share * steps), jump) for share, jump in _JUMPS),
            spacious=True,
            reverse=0.5,
            flip=0.5,
            # By area, and of other aspects; each side is ours, see `JumpRecipe`.
            cover=(0.6, 1.0),
            frame_affine=Affine(rotation=15, shear=10),
            clip_colour=Colour(
                brightness=0.1, contrast=0.03, saturation=0.03, grey=0.05
            ),
            frame_colour=Colour(brightness=0.01, contrast=0.01, saturation=0.01),
            perturb=(0.85, 1.0),
        ),
        batch=batch,
        steps=steps,
        optimizer=OptimizerConfig(
            # Sec. 4.2.
            name="adam",
            learning_rate=2e-5,
            # The program's.
            schedule="step",
            milestones=(milestone,),
            decay=0.1,
            weight_decay=1e-7,
            decay_norms_and_biases=True,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
        ),
        objective=objective,
        step=StepConfig(
            # Sec. 3.3 and 4.2.
            loss="bootstrapped",
            norms="frozen",
            memory_mask="pred",
            # The program's.
            bootstrap_start=bootstrap[0],
            bootstrap_end=bootstrap[1],
            bootstrap_fraction=0.15,
        ),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=5_000,
        checkpoint_every=1_000,
    )
