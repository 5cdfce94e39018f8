r"""RDE-VOS, stage 1: rendered videos of BL30K.

    vos-jax train rde/bl30k --data DATA --workdir runs/rde_bl30k \
        --set grown_from=runs/rde_pretrain/weights.safetensors

Five frames, two objects, both losses of the embeddings. The network gets SAM and one
more mask as an input; what stage 0 did not have begins at random, the mask's kernel
orthogonal. Batches of 8 on 2 GPUs. The published program draws only objects of some
least size, by pixels of whole frames; here `min_share` decides in the crop.

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

_STEPS = 500_000  # sec. 4.2
# Growing in the first 40 % of the epochs, small again for the last fifth.
_JUMPS = ((0, 5), (0.1, 10), (0.2, 15), (0.3, 20), (0.4, 25), (0.8, 5))


def experiment() -> Experiment:
    """The published settings."""
    return Experiment(
        method="rde",
        data=(DataConfig(source="bl30k", folder="BL30K"),),  # sec. 4.2
        recipe=JumpRecipe(
            frames=5,  # sec. 4.2
            size=(384, 384),
            objects=2,
            jumps=tuple((round(share * _STEPS), jump) for share, jump in _JUMPS),
            spacious=True,
            reverse=0.5,
            flip=0.5,
            # By area, and of other aspects; each side is ours, see `JumpRecipe`.
            cover=(0.5, 1.0),
            frame_affine=Affine(rotation=15, shear=10),
            clip_colour=Colour(
                brightness=0.1, contrast=0.03, saturation=0.03, grey=0.05
            ),
            frame_colour=Colour(brightness=0.01, contrast=0.01, saturation=0.01),
            perturb=(0.85, 1.0),
        ),
        batch=8,  # sec. 4.2
        steps=_STEPS,
        optimizer=OptimizerConfig(
            # Sec. 4.2.
            name="adam",
            learning_rate=1e-5,
            # The program's.
            schedule="step",
            milestones=(400_000,),
            decay=0.1,
            weight_decay=1e-7,
            decay_norms_and_biases=True,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
        ),
        # Weights are those of sec. 4.2; how frames are halved is the program's.
        objective=RDELoss(guidance=10.0, correction=10.0, halved=True),
        step=StepConfig(
            # Sec. 3.3 and 4.2.
            loss="bootstrapped",
            norms="frozen",
            memory_mask="pred",
            # The program's.
            bootstrap_start=20_000,
            bootstrap_end=70_000,
            bootstrap_fraction=0.15,
        ),
        # Ours.
        validation=(
            DataConfig(source="davis2017", folder="DAVIS", options={"split": "val"}),
        ),
        validate_every=5_000,
        checkpoint_every=1_000,
    )
