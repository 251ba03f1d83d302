"""The config of both generator stages, in the order of the way: concept, caption, image. Imports no torch.

Caption i depends on the seed, i, `concept`, `caption` and the files they name; image (i, j) on these, j and `image`.
Where the work runs (root, device, lease, tracking) changes no byte of it.

A file or model is named by a path of this machine, or by `package://nano/captioner/weights`: a path inside an installed
Python package, the same on every machine.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from config import Section
from tracking.config import TrackingConfig

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16", "fp16"]


class TemplateMix(Section):
    """How often each prompt template is used; weights, which need not sum to one."""

    concept: float = Field(0.44, ge=0)
    """Weight of the template that names the concept alone. 0.44 is SynCLR's."""
    background: float = Field(0.45, ge=0)
    """Weight of concept and background. 0 switches it off. 0.45 is SynCLR's."""
    relation: float = Field(0.11, ge=0)
    """Weight of concept and spatial relation. 0 switches it off. 0.11 is SynCLR's."""


class ConceptListConfig(Section):
    """One list of the sampling tree: its concepts, how often they are drawn, and how they are asked for."""

    file: str
    """Text file, one concept per line; lines that start with # are skipped."""
    weight: float = Field(1.0, gt=0)
    """How often a caption takes its concept from this list, against the other lists' weights."""
    suffix: str = ""
    """Put after each concept (" car" makes sense of "Audi A4"). Empty: nothing."""
    examples: str = "object"
    """Pool of in-context examples for the template `concept`: object, place, texture, or your own `<pool>.txt`."""
    templates: TemplateMix = TemplateMix()
    """Mix of the prompt templates. The default is SynCLR's for objects; places and textures use `concept` alone."""
    backgrounds: str | None = None
    """Backgrounds: a text file (one per line, for every concept) or a JSON file {concept: [background, ...]}. None is
    right only if the template `background` is off."""
    relations: str | None = None
    """Text file of relations, one per line. None is right only if the template `relation` is off."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        mix = self.templates
        if not mix.concept + mix.background + mix.relation:
            raise ValueError("templates: at least one weight must be above 0")
        for name, weight, file in (
            ("background", mix.background, self.backgrounds),
            ("relation", mix.relation, self.relations),
        ):
            if weight and file is None:
                raise ValueError(f"templates.{name} is {weight}, but there is no file of {name}s; set {name}s, or 0")
        return self


class ConceptConfig(Section):
    """Which concepts the captions are about: the sampling tree."""

    lists: tuple[ConceptListConfig, ...] = Field(min_length=1)
    """The lists. Each caption draws a list by weight, then a concept of it."""
    group: int = Field(1, ge=1)
    """Captions in a row that share every draw (list, template, background, context, the model's dice) but the concept,
    which runs through the list: they come out as near-twins that differ in the concept. 1: every caption on its own, as
    in SynCLR. A group as long as the list makes a learner tell its concepts apart, all else being equal."""


class VllmConfig(Section):
    """What only the engine `vllm` reads."""

    tensor_parallel: int = Field(1, gt=0)
    """GPUs of one machine over which the model is spread. 1 keeps it on one; a 70B model in bf16 needs 2 of 80 GB for
    its weights alone, and 4 leave room for a cache."""
    max_model_len: int | None = Field(None, gt=0)
    """Longest prompt and caption together, tokens; bounds the cache. None: the model's own limit."""
    gpu_memory_utilization: float = Field(0.92, gt=0, le=1)
    """Share of the GPU's memory for weights and cache. 0.92 is vLLM's default. On a CPU it is a share of the machine's
    memory, and several pods on one machine need a smaller one each; VLLM_CPU_KVCACHE_SPACE (GiB) in the environment
    bounds the cache."""
    enforce_eager: bool = False
    """Whether to skip compilation and CUDA graphs: starts sooner, writes slower. True suits tests and CPUs."""


class CaptionConfig(Section):
    """The language model, its prompts, and what counts as a caption."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """Which library runs the model: `transformers` everywhere, `vllm` (an environment of its own) for throughput."""
    model: str
    """A causal language model in transformers' format: a folder, package://..., or a name on the Hugging Face hub."""
    count: int = Field(gt=0)
    """How many captions the run has."""
    per_unit: int = Field(1000, gt=0)
    """Captions per unit of work: one caption shard, and later one image shard. What a killed worker loses at most, and
    what the caption engine batches over. 1000 with 4 images each is about an hour of Stable Diffusion on one GPU."""
    examples: str = "package://generator/examples"
    """Folder of the pools of in-context examples, `<pool>.txt` with lines `concept, background => caption`."""
    contexts: int = Field(256, gt=0)
    """Fixed contexts (instruction and three examples) per pool: fewer suit a prefix cache, more bring variety."""
    temperature: float = Field(0.8, ge=0)
    """Sampling temperature. 0 takes the likeliest word. 0.8 is SynCLR's."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus: draw among the likeliest tokens that together have this probability. 1 is off. 0.9 is SynCLR's."""
    max_new_tokens: int = Field(80, gt=0)
    """Longest caption, tokens."""
    min_words: int = Field(3, ge=1)
    """A shorter caption is drawn anew."""
    max_words: int = Field(60, ge=1)
    """A longer caption is drawn anew. 60 is about what a 77-token text encoder reads."""
    max_attempts: int = Field(4, ge=1)
    """Draws per caption until one is well-formed and names what was asked. After the last it is kept and flagged. 1
    never draws anew, as the reference."""
    max_flagged: float = Field(0.5, ge=0, le=1)
    """Share of flagged captions in a unit above which the stage stops: then the model or the prompts are wrong. 1 never
    stops."""
    batch: int = Field(64, gt=0)
    """Captions written at once by the engine `transformers`; `vllm` sees the whole unit."""
    seed: int = 0
    """Seed of concepts, contexts and the model's dice."""
    precision: Precision = "fp32"
    """Arithmetic of the language model. bf16 suits large models on GPUs."""
    device: Device = "auto"
    """Where the engine `transformers` runs. auto: a GPU if there is one."""
    vllm: VllmConfig = VllmConfig()
    """Settings of the engine `vllm`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_words < self.min_words:
            raise ValueError(f"max_words must be at least min_words ({self.min_words}), got {self.max_words}")
        return self

    @property
    def units(self) -> dict[str, range]:
        """Every unit of work, of both stages, by name, with the captions it holds."""
        starts = range(0, self.count, self.per_unit)
        return {f"{i:06}": range(start, min(start + self.per_unit, self.count)) for i, start in enumerate(starts)}


class ImageConfig(Section):
    """The diffusion model, its sampler and how pictures are stored."""

    model: str
    """A pipeline in diffusers' StableDiffusionPipeline format: a folder, package://..., or a name on the hub."""
    per_caption: int = Field(4, ge=1)
    """Images per caption, each from noise of its own. 4 is SynCLR's; its contrast needs at least 2."""
    steps: int = Field(50, gt=0)
    """DDIM steps. 50 is SynCLR's."""
    guidance: float = Field(2.5, ge=1)
    """Classifier-free guidance scale. 1 is off (and halves the work). 2.5 is SynCLR's."""
    eta: float = Field(0.0, ge=0, le=1)
    """DDIM's noise per step. 0: the first noise alone decides the image."""
    size: int = Field(512, gt=0)
    """Side of the painted image, pixels. 512 is Stable Diffusion 1.5's."""
    save_size: int = Field(256, gt=0)
    """Side of the stored image, pixels; smaller than `size` scales down. 256 as in SynCLR: training reads faster."""
    batch: int = Field(16, gt=0)
    """Images painted at once. Always exactly so many, the last batch is padded: so an image has the same bytes however
    the others are grouped."""
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality."""
    subsampling: Literal["4:2:0", "4:4:4"] = "4:2:0"
    """JPEG's colour resolution. 4:2:0 halves it, which saves a quarter of the bytes; 4:4:4 suits tiny pictures."""
    seed: int = 0
    """Seed of the noise."""
    precision: Precision | Literal["auto"] = "bf16"
    """Arithmetic of the diffusion model. auto: bf16 where the device computes in it, fp32 elsewhere; all workers of a
    run must come to the same answer, a different one is refused."""
    device: Device = "auto"
    """Where it runs. auto: a GPU if there is one."""
    threads: int = Field(2, ge=1)
    """Threads that turn pixels into JPEGs beside the painting."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size % 8:
            raise ValueError(f"size must be a multiple of 8, got {self.size}")
        if self.save_size > self.size:
            raise ValueError(f"save_size must be at most size ({self.size}), got {self.save_size}")
        return self


class LeaseConfig(Section):
    """How workers share the units."""

    ttl: float = Field(120.0, gt=0)
    """Seconds after which a silent worker counts as dead and another takes its unit. Renewed three times as often, so
    it bounds how long a kill -9 delays a unit, not how long a unit may take."""
    poll: float = Field(5.0, gt=0)
    """Seconds between two looks for new units when there is nothing to do."""


class GenerateConfig(Section):
    """From concepts to images: `generator.caption` and `generator.image` read the same tree."""

    root: str
    """Where the run lives: a path, or a URI of file:, s3:, gs: or az:."""
    concept: ConceptConfig
    """Which concepts."""
    caption: CaptionConfig
    """Captions about them."""
    image: ImageConfig
    """Images of the captions."""
    lease: LeaseConfig = LeaseConfig()
    """How workers share the units."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the run is recorded."""
