"""The objectives' sections of the config (trainer/config.py, from which they are imported). Imports no torch.

Defaults are the papers' numbers, so that a recipe only says what differs from them.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from config import Section

DecayRule = Literal["all", "not_class", "not_places", "kernels"]
"""What weight decay leaves out besides biases and norms; the table stands in trainer/optimizer.py."""


class ObjectiveConfig(Section):
    """Base of the objectives' sections; `kind` is the objective's name in `trainer/objectives`."""

    kind: str
    """Which objective."""

    pools_patches: ClassVar[bool] = False
    """Whether the encoder's feature is the mean of its patches and not its class token."""
    decay: ClassVar[DecayRule] = "all"
    """Which parameters weight decay reaches: as in the objective's paper, or its code."""

    @property
    def reads(self) -> "TokenizerConfig | None":
        """How the objective reads captions; None if it reads none."""
        return None

    @property
    def text_views(self) -> "TextViewsConfig | None":
        """How two views of each caption are made; None if the objective wants the caption as it is."""
        return None


class TokenizerConfig(Section):
    """From a caption to numbers."""

    kind: Literal["words", "clip_bpe", "wordpiece", "sentencepiece"] = "clip_bpe"
    """words: one number per word of a list, for small worlds and SuperClass's ablation. clip_bpe: CLIP's byte pairs.
    wordpiece: BERT's pieces of words. sentencepiece: pieces of sentences, as SigLIP's."""
    file: str = ""
    """Path or URI of the vocabulary: a word list (one a line), merges as CLIP's, a `vocab.txt` or `tokenizer.json`, a
    model of SentencePiece. "captions" learns it from the run's captions, which `clip_bpe` cannot. Empty: the small
    world's words, CLIP's merges (both come with the trainer), and "captions" for the other two."""
    size: int = Field(8192, gt=2)
    """Largest vocabulary that is learnt from captions: a sixth of CLIP's, for captions of fewer subjects. Fewer
    captions than it takes give a smaller one."""
    learn_from: int = Field(100_000, gt=0)
    """Captions that it is learnt from: the first of the run. Their shards are read whole, images and all."""
    context: int = Field(77, gt=2)
    """Numbers per caption, begin and end among them; a longer one is cut before its end. 77 is CLIP's."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "clip_bpe" and self.file == "captions":
            raise ValueError("file: clip_bpe is CLIP's vocabulary; to learn one take kind wordpiece or sentencepiece")
        return self

    @property
    def learnt(self) -> bool:
        """Whether the vocabulary is learnt from the captions of the run."""
        return self.file == "captions" or (not self.file and self.kind in ("wordpiece", "sentencepiece"))


class TextViewsConfig(Section):
    """Two views of each caption: one with masked words to guess, one changed by EDA (trainer/text_views.py)."""

    masked: float = Field(0.15, ge=0, le=1)
    """Probability that a number of the first view is one to guess; then it is replaced by the mask (80 %), by another
    one (10 %) or left. 0.15 is BERT's, and DeCLIP's. 0 leaves nothing to guess."""
    deleted: float = Field(0.1, ge=0, le=1)
    """Probability that a word goes where the second view is made by deletion. 0.1 is EDA's."""
    synonyms: str = ""
    """File with words that may stand for one another in a line, for the second view made by replacement; "nano" is the
    small world's, which comes with the trainer. Empty: none is replaced, words are swapped or deleted only. DeCLIP's
    come from WordNet."""


class TextConfig(Section):
    """CLIP's text transformer."""

    width: int = Field(512, gt=0)
    """Channels of a token; a multiple of `heads`. 512 beside ViT-B, 768 beside ViT-L."""
    depth: int = Field(12, gt=0)
    """Transformer blocks. 12 is CLIP's."""
    heads: int = Field(8, gt=0)
    """Attention heads. CLIP's are 64 channels wide."""
    quick_gelu: bool = False
    """x * sigmoid(1.702 x) in place of GELU: what OpenAI's weights were trained with. Off, as in open_clip."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}), got {self.width}")
        return self


class ContrastConfig(ObjectiveConfig):
    """What contrastive objectives have in common."""

    exchange: Literal["gather", "ring"] = "gather"
    """How ranks see one another's features: all at once, or handed round, so that a rank holds those of one other rank
    only. The numbers are the same."""


class SimCLRConfig(ContrastConfig):
    """SimCLR: two views of one image attract each other."""

    kind: Literal["simclr"] = "simclr"
    """Which objective."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the softmax. 0.1 is SimCLR's for large batches (its Table 5), and SLIP's for ViTs."""
    projector_hidden: int = Field(4096, gt=0)
    """Hidden width of the projector. 4096 as for the other objectives here, and in SLIP."""
    projector_layers: int = Field(3, ge=1)
    """Linear layers of the projector. 3 as in SimCLR v2 and SLIP."""
    head_norm: Literal["layer", "batch"] = "layer"
    """Norm of the projector: LayerNorm, with which what an image gives depends on no other, or BatchNorm over the batch
    of all ranks, as in the paper; with gradient accumulation the batch is a micro-batch. With the second a small model
    tells images apart many times sooner."""
    embedding: int = Field(256, gt=0)
    """Width of the space the loss works in. 256 as for the other objectives here, and in SLIP."""


class SupervisedConfig(ObjectiveConfig):
    """Supervised cross entropy: the concept that a caption was made from is the class of its images."""

    kind: Literal["supervised"] = "supervised"
    """Which objective."""
    classes: str = "nano"
    """File with one concept a line; the line is the class. "nano" is the small world's, which comes with the trainer.
    Captions with another concept teach nothing and are counted."""
    smoothing: float = Field(0.1, ge=0, lt=1)
    """Label smoothing: the share of the target spread over all classes. 0 switches it off. 0.1 is usual for ViTs
    (DeiT); SynCLR does not give its own."""

    decay: ClassVar[DecayRule] = "not_places"


class StableRepConfig(ContrastConfig):
    """StableRep: images painted from one caption attract each other; with `text_weight`, StableRep++."""

    kind: Literal["stablerep"] = "stablerep"
    """Which objective."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the softmax among images. 0.1 is the paper's."""
    projector_hidden: int = Field(4096, gt=0)
    """Hidden width of the projector. 4096 in the reference."""
    projector_layers: int = Field(3, ge=1)
    """Linear layers of the projector. 3 in the reference."""
    head_norm: Literal["layer", "batch"] = "layer"
    """Norm of the projector: LayerNorm, with which what an image gives depends on no other, or BatchNorm over the batch
    of all ranks, where the reference has one for each view; with gradient accumulation the batch is a micro-batch. With
    the second a small model tells images apart many times sooner."""
    embedding: int = Field(256, gt=0)
    """Width of the space of the loss among images. 256 in the reference."""
    text_weight: float = Field(0.0, ge=0)
    """Weight of the loss between images and texts. 0 switches text off (StableRep); 1 is StableRep++'s."""
    text_embedding: int = Field(512, gt=0)
    """Width of the space of images and texts. 512 in the reference."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """From a caption to numbers. Unused without text."""
    text: TextConfig = TextConfig()
    """The text tower. Unused without text."""
    scale_start: float = Field(1 / 0.07, gt=0)
    """Scale of the logits of images and texts (1 / temperature) at step 0; learned. 1 / 0.07 is CLIP's."""
    scale_max: float = Field(100.0, gt=0)
    """Largest scale. 100 is CLIP's."""

    @property
    def reads(self) -> TokenizerConfig | None:
        """With text only."""
        return self.tokenizer if self.text_weight else None


class ImageTextConfig(ContrastConfig):
    """What objectives of images and texts have in common."""

    embedding: int = Field(512, gt=0)
    """Width of the common space. 512 beside ViT-B, 768 beside ViT-L."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """From a caption to numbers."""
    text: TextConfig = TextConfig()
    """The text tower."""

    @property
    def reads(self) -> TokenizerConfig | None:
        """Always."""
        return self.tokenizer


class CLIPConfig(ImageTextConfig):
    """CLIP: images and their captions find each other among all."""

    kind: Literal["clip"] = "clip"
    """Which objective."""
    scale_start: float = Field(1 / 0.07, gt=0)
    """Scale of the logits (1 / temperature) at step 0; learned. 1 / 0.07 is the paper's."""
    scale_max: float = Field(100.0, gt=0)
    """Largest scale. 100 is the paper's."""

    decay: ClassVar[DecayRule] = "not_places"


class SigLIPConfig(ImageTextConfig):
    """SigLIP: every image and text decide by themselves whether they belong together."""

    kind: Literal["siglip"] = "siglip"
    """Which objective."""
    scale_start: float = Field(10.0, gt=0)
    """Scale of the logits at step 0; learned. 10 is the paper's."""
    scale_max: float = Field(1000.0, gt=0)
    """Largest scale. The paper has none; this one is beyond what it reaches, so that nothing overflows."""
    bias_start: float = -10.0
    """Added to the logits, at step 0; learned. -10 is the paper's: nearly all pairs do not belong together."""

    decay: ClassVar[DecayRule] = "kernels"


class DeCLIPConfig(ImageTextConfig):
    """DeCLIP: CLIP, and what images and texts teach by themselves, in several views, and by their neighbours."""

    kind: Literal["declip"] = "declip"
    """Which objective."""
    alone_weight: float = Field(0.2, ge=0, le=1)
    """Weight of what images (SimSiam) and texts (masked words) teach by themselves, each. 0.2 is the paper's alpha. 0
    leaves both out of the loss."""
    views_weight: float = Field(0.2, ge=0, le=1)
    """Weight of the three pairs of views that CLIP has not, their mean. 0.2 is the paper's beta. 0 leaves them out."""
    neighbours_weight: float = Field(0.2, ge=0, le=1)
    """Weight of pairs of images and their text's nearest neighbour. 0.2 is the paper's gamma. 0 leaves them out. What
    the three weights leave of 1 is CLIP's."""
    queue: int = Field(65536, gt=0)
    """Texts among which neighbours are looked for: the newest ones, two for each caption. 65536 in the reference."""
    siamese_hidden: int = Field(1024, gt=0)
    """Hidden width and output of SimSiam's projector, and output of its predictor. 1024 in the reference."""
    predictor_hidden: int = Field(512, gt=0)
    """Hidden width of SimSiam's predictor. 512 in the reference."""
    head_norm: Literal["layer", "batch"] = "batch"
    """Norm of SimSiam's heads: BatchNorm over a view's batch of all ranks, as in the paper (where it is each GPU's own;
    with gradient accumulation the batch is a micro-batch), or LayerNorm, with which what an image gives depends on no
    other."""
    freeze_stem: bool = False
    """Whether what makes tokens of pixels stays as it was drawn. On in the reference for its ViT, as in MoCo v3."""
    text_view: TextViewsConfig = TextViewsConfig()
    """The two views of each caption."""
    scale_start: float = Field(1 / 0.07, gt=0)
    """Scale of the logits (1 / temperature) at step 0; learned. 1 / 0.07 is CLIP's."""
    scale_max: float = Field(100.0, gt=0)
    """Largest scale. 100 as in CLIP."""

    @property
    def text_views(self) -> TextViewsConfig | None:
        """Always."""
        return self.text_view

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        given = self.alone_weight + self.views_weight + self.neighbours_weight
        if given > 1:
            raise ValueError(
                f"alone_weight, views_weight and neighbours_weight must leave something of 1, got {given:g} together"
            )
        return self


class SuperClassConfig(ObjectiveConfig):
    """SuperClass: the subwords of its caption are the classes of an image."""

    kind: Literal["superclass"] = "superclass"
    """Which objective."""
    loss: Literal["softmax", "bce", "asl", "soft_margin", "two_way"] = "softmax"
    """How scores are compared with the subwords that are there. softmax is the paper's; the others are its Table 6."""
    idf: bool = True
    """Whether a subword weighs by how rare it was in the captions seen so far. Off in the paper's Table 6 and part of
    its Table 7. Only the softmax has weights."""
    stop_words: bool = True
    """Whether common words of English are kept among the subwords. Off is the last row of the paper's Table 7."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """What the subwords are."""

    pools_patches: ClassVar[bool] = True
    decay: ClassVar[DecayRule] = "not_class"

    @property
    def reads(self) -> TokenizerConfig | None:
        """Always."""
        return self.tokenizer


class SynCLRConfig(ObjectiveConfig):
    """SynCLR: multi-positive contrastive loss on captions, plus iBOT, against an EMA teacher."""

    kind: Literal["synclr"] = "synclr"
    """Which objective."""
    temperature: float = Field(0.08, gt=0)
    """Temperature of the contrastive softmax. 0.08 is the paper's (its code says 0.1)."""
    contrast_weight: float = Field(1.0, ge=0)
    """Weight of the contrastive loss (Eq. 4). 0 switches it off."""
    ibot_weight: float = Field(1.0, ge=0)
    """Weight of the masked-patch (iBOT) loss (Eq. 4). 0 switches it off."""
    projector_hidden: int = Field(4096, gt=0)
    """Hidden width of the contrastive projector and predictor. 4096 as in MoCo v3."""
    projector_layers: int = Field(3, ge=1)
    """Linear layers of the projector (student and teacher). 3 in the reference."""
    predictor_layers: int = Field(2, ge=1)
    """Linear layers of the predictor (student only). 2 in the reference."""
    head_norm: Literal["layer", "batch"] = "layer"
    """Norm of projector and predictor: LayerNorm as in the reference, or BatchNorm over the batch of all ranks as in
    MoCo v3, which the paper says its heads follow. With the second a small model tells images apart many times sooner;
    with gradient accumulation the batch is a micro-batch."""
    embedding: int = Field(256, gt=0)
    """Width of the space the contrastive loss works in. 256 in the reference."""
    prototypes: int = Field(65536, gt=1)
    """Prototypes (outputs) of the iBOT head. 65536 is the paper's."""
    ibot_hidden: int = Field(2048, gt=0)
    """Hidden width of the iBOT head. 2048 in the reference."""
    ibot_layers: int = Field(3, ge=1)
    """Linear layers of the iBOT head before the prototypes. 3 in the reference."""
    ibot_bottleneck: int = Field(256, gt=0)
    """Width that is L2-normalised before the prototypes. 256 in the reference."""
    student_temperature: float = Field(0.1, gt=0)
    """Temperature of the student's iBOT softmax. 0.1 in the reference."""
    teacher_temperature_start: float = Field(0.04, gt=0)
    """Temperature of the teacher's Sinkhorn targets at step 0. 0.04 is the paper's."""
    teacher_temperature_end: float = Field(0.07, gt=0)
    """The same after `teacher_temperature_steps`. 0.07 is the paper's."""
    teacher_temperature_steps: int = Field(4000, ge=0)
    """Steps of the linear rise between the two. 0 starts at the end value. 4000 is the paper's."""
    sinkhorn_iterations: int = Field(3, ge=1)
    """Sinkhorn-Knopp iterations on the teacher's scores. 3 in the reference."""
    ema_start: float = Field(0.994, ge=0, le=1)
    """Momentum of the teacher at step 0; it rises to `ema_end` on a cosine over the whole run. 0.994 is the paper's."""
    ema_end: float = Field(1.0, ge=0, le=1)
    """Momentum at the last step. 1 is the paper's. Equal to `ema_start` switches the schedule off."""
    exclude_same_image: bool = False
    """Whether a local crop's own image counts as no positive for it. Off in the paper: only global anchors exclude
    themselves."""
    encoder: Literal["teacher", "student"] = "teacher"
    """Whose backbone is evaluated and exported: the moving average, as in iBOT and DINOv2, or the student, which may be
    ahead of it in a short run. The paper does not say."""


AnyObjective = Annotated[
    SynCLRConfig
    | StableRepConfig
    | SimCLRConfig
    | SupervisedConfig
    | CLIPConfig
    | SigLIPConfig
    | DeCLIPConfig
    | SuperClassConfig,
    Field(discriminator="kind"),
]
"""The sections that `objective` may be; `--objective.kind clip` takes another one with its defaults."""
