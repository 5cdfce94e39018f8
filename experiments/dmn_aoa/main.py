r"""DMN-AOA, second stage: videos, in boxes of what was found (ICCV 2021, sec. 4.1).

    vos-jax train dmn_aoa/main --data DATA --workdir runs/dmn_aoa_davis \
        --set weights=runs/dmn_aoa_pretrain/weights.safetensors

Four frames of a video in their order, a stride of 1 to 5 frames with labels, crops of
384 x 384, rates a hundredth of the first stage's. `dmn_aoa/main` is DAVIS 2017 alone,
`dmn_aoa/main:youtube_vos` YouTube-VOS, after which `dmn_aoa/main` gives the results
marked "+YV". `:from_imagenet` and `:from_imagenet_faster` are for table 3's row without
the first stage. `DATA/proposals` holds the proposals of a detector that is tuned on
YouTube-VOS; see `experiments/dmn_aoa/README.md`.
"""

from dataclasses import replace

from vos_jax.data.recipes import VideoRecipe
from vos_jax.methods.dmn_aoa.objective import DMNAOALoss
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

_BATCH = 4  # sec. 4.1
# Epochs are sec. 4.1's. That one has 40 clips of each video of DAVIS and 10 of those of
# YouTube-VOS is ours.
_DAVIS, _YOUTUBE = 150 * 60 * 40, 40 * 3471 * 10


def experiment() -> Experiment:
    """DAVIS 2017, sections are the paper's."""
    data = DataConfig(
        source="davis2017",
        folder="DAVIS",
        options={"split": "train"},
        inputs="proposals/davis_ytvos",
    )
    return _of(data, clips=_DAVIS)


def youtube_vos() -> Experiment:
    """YouTube-VOS, for the paper's results on YouTube-VOS."""
    data = DataConfig(
        source="youtube-vos", folder="YouTubeVOS", inputs="proposals/ytvos_ytvos"
    )
    return _of(data, clips=_YOUTUBE)


def from_imagenet() -> Experiment:
    """Table 3, C1, with backbones in place of weights: the rates of this stage."""
    return experiment()


def from_imagenet_faster() -> Experiment:
    """The same with the rates of the first stage: at its own, weights hardly move."""
    base = experiment()
    return replace(base, optimizer=replace(base.optimizer, learning_rate=1e-4))


def _of(data: DataConfig, clips: int) -> Experiment:
    """The published settings."""
    steps = clips // _BATCH
    return Experiment(
        method="dmn-aoa",
        data=(data,),
        recipe=VideoRecipe(
            # Sec. 4.1: four frames, a stride of 1 to 5 for the whole clip.
            frames=4,
            even=True,
            max_skip=4,
            skip_steps=0,
            # Ours: frames with labels, whatever lies between; size, window, objects.
            labelled_skip=True,
            size=(384, 384),
            cover=(0.73, 1.0),
            flip=0.5,
            objects=3,
            min_share=0.01,
        ),
        batch=_BATCH,
        steps=steps,
        optimizer=OptimizerConfig(
            # Sec. 4.1: 1e-7 for the backbone, whose norms are frozen.
            name="adam",
            learning_rate=1e-6,
            rates=(("backbone/*", 0.1),),
            frozen=("backbone/*/norm/*",),
            # Ours.
            schedule="constant",
            weight_decay=0.0,
        ),
        # The cross entropy is that of sec. 4.1; coarse masks and memory are ours.
        objective=DMNAOALoss(boxes="predicted", memory="all", coarse_loss_weight=1.0),
        step=StepConfig(loss="cross_entropy", memory_mask="pred", norms="frozen"),
        # Ours.
        validation=(
            DataConfig(
                source="davis2017",
                folder="DAVIS",
                options={"split": "val"},
                inputs="proposals/davis_ytvos",
            ),
        ),
        validate_every=steps // 10,
        checkpoint_every=2_000,
    )
