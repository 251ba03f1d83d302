"""The config of pretraining: one section per file it serves, in the order of the work. Imports no torch.

Defaults are the paper's numbers where a paper has them (SynCLR, Table 12 and Sec. 3.4), so that a recipe only says
what differs from it. Units are in the descriptions; "captions" and "steps" always count over all ranks.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from config import Section
from tracking.config import TrackingConfig
from trainer.objective_config import (
    AnyObjective,
    CLIPConfig,
    ContrastConfig,
    DecayRule,
    DeCLIPConfig,
    ImageTextConfig,
    ObjectiveConfig,
    SigLIPConfig,
    SimCLRConfig,
    StableRepConfig,
    SuperClassConfig,
    SupervisedConfig,
    SynCLRConfig,
    TextConfig,
    TextViewsConfig,
    TokenizerConfig,
)

__all__ = [
    "AnyObjective",
    "AugmentConfig",
    "BatchConfig",
    "CLIPConfig",
    "CheckpointConfig",
    "ContrastConfig",
    "DeCLIPConfig",
    "DecayRule",
    "EngineConfig",
    "EvaluateConfig",
    "ImageTextConfig",
    "KnnConfig",
    "LinearProbeConfig",
    "MetricsConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Pair",
    "PretrainConfig",
    "ScheduleConfig",
    "SigLIPConfig",
    "SimCLRConfig",
    "StableRepConfig",
    "SuperClassConfig",
    "SupervisedConfig",
    "SynCLRConfig",
    "TextConfig",
    "TextViewsConfig",
    "TokenizerConfig",
    "ZeroShotConfig",
]

Pair = tuple[float, float]


class KnnConfig(Section):
    """Weighted k-nearest neighbours on frozen features, as in DINO."""

    neighbours: tuple[int, ...] = Field((20, 10, 100), min_length=1)
    """Numbers of neighbours that vote (k). Each is reported; the first one, DINO's choice, stands in the table."""
    temperature: float = Field(0.07, gt=0)
    """A neighbour's vote weighs exp(cosine / temperature). 0.07 is DINO's."""


class LinearProbeConfig(Section):
    """A linear classifier on frozen features: the protocol of StableRep and SynCLR (B.2)."""

    rates: tuple[float, ...] = Field((0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), min_length=1)
    """Learning rates for a batch of 256, trained side by side; they scale with the batch. The paper's nine."""
    epochs: int = Field(90, gt=0)
    """Passes over the training images. 90 is the paper's."""
    batch: int = Field(256, gt=0)
    """Images per step. The paper's 1024 on ImageNet's 1.28M images; fewer here, so that thousands give enough steps."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD. 0.9 is the paper's; there is no weight decay."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of the training images on which the learning rate is chosen, never on the test images. The chosen one is
    then trained on all of them. 20 % is the protocol of SynCLR's smaller sets."""
    seed: int = Field(0, ge=0)
    """Seed of the split, the initial weights and the order."""


class ZeroShotConfig(Section):
    """Classes told in words, for encoders that learnt from images and texts."""

    templates: tuple[str, ...] = Field(
        (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
        min_length=1,
    )
    """Texts that a class's name is put into, at {}; a class is told by the mean of them all. The seven of OpenAI's
    eighty for ImageNet that it found to be enough."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for template in self.templates:
            if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
                raise ValueError(f"templates: each must have {{}} once and no other brace, got {template!r}")
        return self


class EvaluateConfig(Section):
    """The whole tree of one evaluation."""

    root: str = ""
    """URI under which the run lives; results go to `<root>/evaluations/<run>`. Required by the command."""
    run: str = "synclr"
    """Pretraining run whose encoder is evaluated."""
    step: int | None = Field(None, ge=0)
    """Checkpoint to evaluate; None is the newest one."""
    data: str = ""
    """URI of labelled shards with the stages `train` and `test`. Empty: `<root>/labelled`."""
    tasks: tuple[str, ...] = ()
    """Labels to predict. Empty: all that the shards have."""
    evaluators: tuple[Literal["knn", "linear_probe", "zero_shot"], ...] = ()
    """What is measured. Empty: all that suit the run; zero_shot suits objectives of images and texts, on labelled
    shards whose classes have names."""
    baselines: bool = True
    """Whether an encoder of the same architecture with random weights, and the raw pixels, are evaluated beside."""
    baseline_seed: int = Field(0, ge=0)
    """Seed of the random weights."""
    batch: int = Field(250, gt=0)
    """Images per forward pass. Memory only; no result depends on it beyond rounding."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to extract features; auto takes the GPU if there is one."""
    wait: float = Field(0.0, ge=0)
    """Longest wait, seconds, for labelled shards and for the checkpoint (without `step`: the run's last one), for when
    evaluation starts beside pretraining. 0 does not wait: what is missing is an error, and the newest checkpoint is
    evaluated, finished or not."""
    knn: KnnConfig = KnnConfig()
    """k-nearest neighbours."""
    linear_probe: LinearProbeConfig = LinearProbeConfig()
    """Linear classifier."""
    zero_shot: ZeroShotConfig = ZeroShotConfig()
    """Classes told in words."""
    log_model: bool = True
    """Whether the encoder is stored in MLflow as a model that takes images and gives features."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""


def _ordered(name: str, pair: Pair, low: float = 0.0, high: float = float("inf")) -> None:
    if not low < pair[0] <= pair[1] <= high:
        raise ValueError(f"{name} must be two numbers in order in ({low:g}, {high:g}], got {pair}")


class ModelConfig(Section):
    """The encoder that is trained and, at the end, exported: a vision transformer (ViT), or CLIP's ResNet."""

    resnet: tuple[int, ...] = ()
    """Bottlenecks of the four stages of CLIP's modified ResNet, which then takes the ViT's place: [3, 4, 6, 3] with
    `width` 2048 is RN50. Empty, as in most papers here, switches it off: the ViT. Not for SynCLR, local crops or
    gradient accumulation."""
    image_size: int = Field(224, gt=0)
    """Side of the global crops, pixels; a multiple of `patch_size`. 224 is the paper's."""
    patch_size: int = Field(16, gt=0)
    """Side of one patch, pixels. 16 for ViT-B, 14 for ViT-L in the paper. With `resnet` 32: what lies under one place
    of its last map."""
    stem: Literal["patch", "conv"] = "patch"
    """What makes tokens of pixels: one linear map of each patch, the paper's; or convolutions that halve the sides
    until a patch is a token, from which small models learn outlines many times sooner (benchmarks/small_vit.md)."""
    width: int = Field(768, gt=0)
    """Channels of a token and of the feature; a multiple of `heads`. 768 is ViT-B. With `resnet` channels of its last
    map, 32 times those after its stem: 2048 is RN50 and RN101."""
    depth: int = Field(12, gt=0)
    """Transformer blocks. 12 is ViT-B."""
    heads: int = Field(12, gt=0)
    """Attention heads. 12 is ViT-B. With `resnet` those that pool its last map, of 64 channels each: width / 64."""
    mlp_ratio: float = Field(4.0, gt=0)
    """Hidden width of the MLP over `width`. 4 in every ViT of the paper (no SwiGLU, no LayerScale)."""
    init: Literal["normal", "xavier"] = "normal"
    """How the blocks' weights begin: from a normal distribution of width 0.02, as ViTs do; or as wide as keeps the
    variance of what passes through (Glorot and Bengio 2010), which at 128 channels is three to four times as wide. From
    0.02, blocks of so few channels change their tokens little at first (benchmarks/small_vit.md)."""
    drop_path: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block, growing linearly from 0 at the first; student only. 0 switches it off. 0.1 is
    the paper's for ViT-B, 0.4 for ViT-L. With `resnet`, which has none, 0."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.resnet:
            self._fits_resnet()
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size must be a multiple of patch_size ({self.patch_size}), got {self.image_size}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}), got {self.width}")
        if self.stem == "conv" and (self.patch_size & (self.patch_size - 1) or self.patch_size < 2):
            raise ValueError(f"patch_size must be 2, 4, 8, ... for the stem conv, got {self.patch_size}")
        return self

    def _fits_resnet(self) -> None:
        if len(self.resnet) != 4 or min(self.resnet) < 1:
            raise ValueError(f"resnet must be four numbers of bottlenecks, each at least 1, got {self.resnet}")
        if self.patch_size != 32:
            raise ValueError(f"patch_size must be 32 with resnet, which halves maps five times, got {self.patch_size}")
        if self.heads * 64 != self.width:
            raise ValueError(f"heads must be width / 64 ({self.width / 64:g}) with resnet, got {self.heads}")
        if self.drop_path:
            raise ValueError(f"drop_path must be 0 with resnet, which has no stochastic depth, got {self.drop_path}")
        for name in ("stem", "depth", "mlp_ratio", "init"):
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default:
                raise ValueError(f"{name} is the ViT's: with resnet leave it at {default}, got {value}")

    @property
    def tokens(self) -> int:
        """Patches of a global crop (N)."""
        return (self.image_size // self.patch_size) ** 2


class AugmentConfig(Section):
    """Random changes of colour and sharpness. BYOL's, with StableRep's downsampling; the defaults are the paper's."""

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip of a crop. 0 switches it off."""
    jitter: float = Field(0.8, ge=0, le=1)
    """Probability that a crop's colours are jittered by the four strengths below. 0 switches it off."""
    brightness: float = Field(0.4, ge=0, le=1)
    """Factor drawn from 1 ± this. 0 switches it off."""
    contrast: float = Field(0.4, ge=0, le=1)
    """Factor drawn from 1 ± this. 0 switches it off."""
    saturation: float = Field(0.2, ge=0, le=1)
    """Factor drawn from 1 ± this. 0 switches it off."""
    hue: float = Field(0.1, ge=0, le=0.5)
    """Hue turned by up to ± this, in full turns. 0 switches it off."""
    gray: float = Field(0.2, ge=0, le=1)
    """Probability of a gray crop. 0 switches it off."""
    blur: float = Field(0.5, ge=0, le=1)
    """Probability that a global crop takes BYOL's first branch (always blurred) and not its second (`weak_blur`,
    `solarise`). The reference throws a fair coin, because an image has one global crop only."""
    weak_blur: float = Field(0.1, ge=0, le=1)
    """Probability of blur in the second branch. 0 switches it off."""
    solarise: float = Field(0.2, ge=0, le=1)
    """Probability of solarisation (values of at least 128 inverted) in the second branch. 0 switches it off."""
    local_blur: float = Field(0.5, ge=0, le=1)
    """Probability that a local crop is blurred. 0 switches it off."""
    blur_sigma: Pair = (0.1, 2.0)
    """Range of the Gaussian's standard deviation, pixels."""
    blur_kernel: int = Field(9, ge=1)
    """Width of the Gaussian's window, pixels, odd. 9 in the reference."""
    downsample: float = Field(0.05, ge=0, le=1)
    """Probability that an image is first shrunk and enlarged again (StableRep). 0 switches it off."""
    downsample_sizes: tuple[int, ...] = (64, 128)
    """Sides to shrink to, pixels, one drawn at random. For images of 256 pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of R, G, B in 0..1 that is subtracted. ImageNet's, in training and in every evaluation."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of R, G, B in 0..1 that is divided by. ImageNet's, in training and in every evaluation."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel must be odd, got {self.blur_kernel}")
        _ordered("blur_sigma", self.blur_sigma, low=0.0)
        return self


class BatchConfig(Section):
    """From image shards to the tensors of one step."""

    captions: int = Field(8192, gt=0)
    """Captions per step, over all ranks; a multiple of the number of ranks. 8192 is the paper's long run."""
    images_per_caption: int = Field(4, gt=0)
    """Images used of each caption, one view each. 4 is the paper's."""
    global_crops: int = Field(1, gt=0)
    """Global crops per image. 1 is SynCLR's, whose views are the other images of the caption; SimCLR needs 2."""
    global_scale: Pair = (0.32, 1.0)
    """Range of a global crop's area over the image's. Its side is `model.image_size`."""
    local_crops: int = Field(4, ge=0)
    """Local crops per image. 0 switches them off. 4 is the paper's."""
    local_size: int = Field(96, gt=0)
    """Side of a local crop, pixels; a multiple of `model.patch_size`."""
    local_scale: Pair = (0.08, 0.32)
    """Range of a local crop's area over the image's."""
    augment: AugmentConfig = AugmentConfig()
    """Colour and sharpness."""
    masked_images: float = Field(0.5, ge=0, le=1)
    """Share of the global crops that are masked for iBOT, chosen at random over all ranks. 0.5 is the paper's."""
    masked_tokens: float = Field(0.5, ge=0, le=1)
    """Share of the tokens masked in such a crop, chosen at random (not in blocks). 0.5 is the paper's."""
    window: int = Field(16, gt=0)
    """Shards that are shuffled together: the order permutes the shards, then the samples within every window of this
    many. Larger mixes better and reads more shards at once; 1 reads one shard at a time."""
    start_shards: int = Field(0, ge=0)
    """Image shards that must be committed before training starts; the list is fixed then. 0 waits for all."""
    wait: float = Field(0.0, ge=0)
    """Longest wait for those shards, seconds. 0 does not wait: missing shards are an error."""
    workers: int = Field(8, ge=0)
    """Processes per rank that read, decode and crop. 0 does it in the training process (small data, few cores)."""
    prefetch: int = Field(2, gt=0)
    """Batches each worker prepares ahead. Costs memory only."""
    memory_bytes: int = Field(0, ge=0)
    """Decoded images a reading process may keep in RAM, bytes. For small data, where decoding again would cost more
    than it holds; 0 switches it off."""
    cache_bytes: int = Field(100_000_000_000, ge=0)
    """Disk for local copies of remote shards, bytes; the least recently used goes first. 0 reads sample by sample
    from the remote. Local roots are always read in place."""
    cache_folder: str = ""
    """Where these copies live. Empty: a folder in the system's temporary directory, shared by the ranks of a host."""
    bad_samples: Literal["raise", "skip"] = "raise"
    """What to do about a sample that cannot be used (truncated image, missing caption): stop with an error that names
    it, or replace it by another one, and count it."""
    bad_ceiling: float = Field(0.01, ge=0, le=1)
    """Share of bad samples among those read at which "skip" stops the run too: then it is not bad luck."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        _ordered("global_scale", self.global_scale, high=1.0)
        _ordered("local_scale", self.local_scale, high=1.0)
        return self


class OptimizerConfig(Section):
    """AdamW."""

    betas: Pair = (0.9, 0.999)
    """Decay of the running mean and square of the gradient. (0.9, 0.999) is the paper's."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to the root of the running square. PyTorch's default, as in the reference."""
    clip: float = Field(0.0, ge=0)
    """Largest norm of the gradient over all parameters; above it the gradient is scaled down. 0 switches it off, as in
    the reference."""


class ScheduleConfig(Section):
    """Learning rate and weight decay over the steps."""

    steps: int = Field(500_000, gt=0)
    """Optimiser steps of the run. 500k is the paper's long run."""
    warmup_steps: int = Field(80_000, ge=0)
    """Steps of linear rise of the learning rate from 0, then half a cosine down to `lr_end`. 0 switches it off."""
    lr: float = Field(2e-3, gt=0)
    """Peak learning rate, as given to AdamW (already scaled to the batch). 2e-3 is the paper's for ViT-B."""
    lr_end: float = Field(0.0, ge=0)
    """Learning rate after the last step. 0 in the reference."""
    weight_decay_start: float = Field(0.04, ge=0)
    """Weight decay at step 0; a cosine leads to `weight_decay_end`. 0.04 is the paper's."""
    weight_decay_end: float = Field(0.2, ge=0)
    """Weight decay after the last step. 0.2 is the paper's. Equal to the start switches the schedule off."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps must be at most steps ({self.steps}), got {self.warmup_steps}")
        return self


class EngineConfig(Section):
    """DeepSpeed, and what one step does besides the loss."""

    zero_stage: Literal[0, 1, 2, 3] = 1
    """What is split over the ranks: 0 nothing, 1 optimiser states, 2 gradients too, 3 parameters too."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: matrix products in bfloat16 (autocast), parameters and losses in fp32. fp32: everything in fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes the GPU if there is one."""
    threads: int = Field(0, ge=0)
    """Threads of the tensor library per process on a CPU. 0: the cores shared out between the host's processes."""
    accumulate: int = Field(1, gt=0)
    """Micro-batches per step; `batch.captions` is divided by ranks and by this. 1 switches it off. The loss is that of
    all of them together, exactly, for one more forward pass. Not for a ResNet; with `objective.head_norm` batch the
    heads' norms are of one micro-batch (over all ranks) at a time."""
    not_finite_steps: int = Field(3, gt=0)
    """Losses or gradients in a row that may be infinite or not a number. Each is skipped and counted and never reaches
    the weights; after this many the run goes back to its last checkpoint."""
    rollbacks: int = Field(2, ge=0)
    """How often it may go back before it gives up with exit code 77."""
    hang_seconds: float = Field(1800.0, ge=0)
    """A step that takes longer than this ends the process with exit code 76. 0 switches the watchdog off."""


class CheckpointConfig(Section):
    """When to save, and how many to keep."""

    every_steps: int = Field(5000, ge=0)
    """Steps between checkpoints. 0 switches this trigger off; the last step is always saved."""
    every_minutes: float = Field(15.0, ge=0)
    """Minutes between checkpoints: the most that a crash can cost. 0 switches this trigger off."""
    by_failures: bool = False
    """Let the controller of a `Reverie` choose `every_minutes` for each attempt after the first, from how long a save
    takes and how often pretraining fails (docs/controller.md). False leaves it as it is given; so does a run that has
    no controller. What is trained does not depend on it."""
    keep: int = Field(3, ge=1)
    """Newest checkpoints that are kept."""


class MetricsConfig(Section):
    """What is written down while training."""

    every_steps: int = Field(50, gt=0)
    """Steps between points of the curves; each is the mean over these steps."""


class PretrainConfig(Section):
    """The whole tree of one pretraining run."""

    root: str = ""
    """URI under which the run lives (file:, s3:, gs:, az:, memory:, or a path): shards are read from it, checkpoints
    written to it. Required by the command."""
    run: str = "synclr"
    """Name of the run; its checkpoints are in `<root>/checkpoints/<run>`. Another name is another run on the same
    shards."""
    seed: int = Field(0, ge=0)
    """Seed of the initial weights, the order, the crops and the masks."""
    batch: BatchConfig = BatchConfig()
    """From shards to tensors."""
    model: ModelConfig = ModelConfig()
    """The encoder."""
    objective: AnyObjective = SynCLRConfig()
    """The loss."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Steps, learning rate, weight decay."""
    engine: EngineConfig = EngineConfig()
    """DeepSpeed, precision, guards."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Saving."""
    metrics: MetricsConfig = MetricsConfig()
    """Curves."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.model.resnet:
            self._fits_resnet()
        if self.batch.local_crops and self.batch.local_size % self.model.patch_size:
            raise ValueError(
                f"batch.local_size must be a multiple of model.patch_size ({self.model.patch_size}), "
                f"got {self.batch.local_size}"
            )
        if isinstance(self.objective, SynCLRConfig) and self.batch.global_crops != 1:
            raise ValueError(
                "batch.global_crops must be 1 with objective.kind synclr, whose views are the images of a caption; got "
                f"{self.batch.global_crops}"
            )
        if isinstance(self.objective, SimCLRConfig) and self.batch.global_crops < 2:
            raise ValueError(
                "batch.global_crops must be at least 2 with objective.kind simclr, which compares the views of one "
                f"image; got {self.batch.global_crops}"
            )
        if isinstance(self.objective, DeCLIPConfig) and self.batch.global_crops != 2:
            raise ValueError(
                "batch.global_crops must be 2 with objective.kind declip, which compares two views of an image; got "
                f"{self.batch.global_crops}"
            )
        return self

    def _fits_resnet(self) -> None:
        if isinstance(self.objective, SynCLRConfig):
            raise ValueError(
                "objective.kind must not be synclr with model.resnet: masked patches and local crops need the ViT, and "
                f"a teacher that averages weights has no BatchNorm of its own; got {self.objective.kind}"
            )
        if self.batch.local_crops:
            raise ValueError(
                "batch.local_crops must be 0 with model.resnet, whose attention pools maps of one size; got "
                f"{self.batch.local_crops}"
            )
        if self.engine.accumulate > 1:
            raise ValueError(
                "engine.accumulate must be 1 with model.resnet, whose BatchNorm is of the whole batch and not of a "
                f"micro-batch; got {self.engine.accumulate}"
            )
        if isinstance(self.objective, DeCLIPConfig) and self.objective.freeze_stem:
            raise ValueError("objective.freeze_stem must be false with model.resnet: only a ViT's is frozen; got True")
