"""What a training run is told: one frozen model, whose fields carry their label, help and bounds for every form."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rm_studio.models import BUILTIN_MODEL
from rm_studio.settings import Frozen

Method = Literal["full", "lora", "qlora", "head"]
Sharding = Literal["copies", "fsdp", "deepspeed"]


class TrainConfig(Frozen):
    """One training run. Where a default comes from a paper or a library, the help says so."""

    base_model: Annotated[str, Field(min_length=1)] = Field(
        BUILTIN_MODEL,
        title="Base model",
        description="What the reward model starts from: a name on the Hugging Face Hub (owner/name), a folder, "
        "“builtin” (a small English model that needs no download), or a reward model that you go on from.",
    )
    method: Method = Field(
        "full",
        title="What is trained",
        description="All weights learns most. LoRA trains small added matrices and needs far less memory (Hu et al. "
        "2021); QLoRA also keeps the base model in 4 bits (NVIDIA cards). Only the scoring head is fastest, for a "
        "first look.",
    )
    epochs: float = Field(
        1.0,
        title="Epochs",
        gt=0,
        le=20,
        description="How many times the model sees every pair. 1 or 2 is usual; more tends to learn by heart.",
    )
    learning_rate: float = Field(
        1e-4,
        title="Learning rate",
        gt=0,
        description="How large each correction is. 2e-5 to 2e-4 suits small models, 2e-6 to 1e-5 models of billions "
        "of weights (RLHFlow, OpenRLHF), 1e-4 LoRA (TRL), 1e-3 the head alone.",
    )
    batch_size: int = Field(
        16,
        title="Batch size",
        ge=1,
        le=4096,
        description="Pairs looked at before each correction. It shapes what is learned; memory is set by “Tokens at "
        "once”.",
    )
    max_length: int = Field(
        512,
        title="Maximum length",
        ge=16,
        le=131_072,
        description="In tokens (about ¾ of a word). Longer prompts lose their beginning; an answer is never cut.",
    )
    test_share: float = Field(
        0.2,
        title="Held out for testing",
        ge=0.05,
        le=0.5,
        description="Share of the prompts the model never learns from, to measure it honestly.",
    )
    seed: int = Field(42, title="Seed", ge=0, description="The same seed, data and machine give the same model again.")
    warmup: float = Field(
        0.1,
        title="Warm-up",
        ge=0,
        le=0.5,
        description="Share of the steps in which the learning rate rises from zero. 0.03 to 0.1 is usual.",
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear",
        title="Learning rate after the warm-up",
        description="Linear and cosine fall to zero by the end; constant stays, for runs that you stop yourself.",
    )
    weight_decay: float = Field(
        0.01, title="Weight decay", ge=0, le=1, description="Pulls weights towards zero a little; 0.01 is usual."
    )
    lora_rank: int = Field(
        16, title="LoRA rank", ge=1, le=512, description="Width of the added matrices: more can learn more. 8 to 64."
    )
    soft_labels: bool = Field(
        False,
        title="Learn from doubt",
        description="Where annotators disagreed, aim at the share of votes instead of certainty. Helps when several "
        "people answered each comparison.",
    )
    use_strength: bool = Field(
        False,
        title="Use how much better",
        description="A pair whose answer was much better must be told apart by more (a margin, as in Llama 2). Needs "
        "a column “strength”; not together with “Learn from doubt”.",
    )
    learn_ties: bool = Field(
        False,
        title="Learn from ties",
        description="Pairs that people found equal (p_chosen 0.5) draw both scores together (Rao and Kupper 1967) "
        "instead of being left out.",
    )
    centering: float = Field(
        0.0,
        title="Centre the scores",
        ge=0,
        le=1,
        description="Keeps scores near zero, so that they compare across runs (Eisenstein et al. 2023). 0.01 if you "
        "want it.",
    )
    label_smoothing: float = Field(
        0.0,
        title="Label smoothing",
        ge=0,
        lt=0.5,
        description="Assume that this share of the choices is wrong. Helps with careless feedback; 0.05 to 0.1.",
    )
    tokens_at_once: int = Field(
        0,
        title="Tokens at once",
        ge=0,
        description="How much is computed at one time; less needs less memory and gives the same model. 0 chooses by "
        "itself, and halves it when memory runs out.",
    )
    gradient_checkpointing: bool = Field(
        False,
        title="Save memory by computing twice",
        description="Gradient checkpointing: about a third slower, for models that do not fit otherwise.",
    )
    early_stopping: int = Field(
        0,
        title="Stop early after",
        ge=0,
        le=50,
        description="Stop when the held-out loss has not improved for this many measurements, and keep the best "
        "model. 0 never does.",
    )
    keep_best: bool = Field(
        False,
        title="Keep the best instead of the last",
        description="The model with the lowest held-out loss on the way. Its measured accuracy is then a little "
        "flattering, and the report says so.",
    )
    checkpoint_minutes: float = Field(
        5.0,
        title="Minutes between checkpoints",
        ge=0,
        description="A run that is killed goes on from its last checkpoint, and loses at most this much.",
    )
    processes: int = Field(
        1, title="Cards on each machine", ge=1, le=64, description="GPUs (or processes) that train together."
    )
    nodes: int = Field(1, title="Machines", ge=1, le=1024, description="More than one: see the files to copy.")
    sharding: Sharding = Field(
        "copies",
        title="How cards share the work",
        description="A copy of the model on each (fastest while it fits), or one model spread over all: FSDP2 "
        "(PyTorch’s own) or DeepSpeed ZeRO-3.",
    )

    @model_validator(mode="after")
    def _an_equal_share_each(self) -> "TrainConfig":
        cards = self.processes * self.nodes
        if self.batch_size % cards:
            raise PydanticCustomError(
                "equal_share",
                f"must be a multiple of {cards}, the number of cards that share it",
                {"field": "batch_size"},
            )
        return self

    @model_validator(mode="after")
    def _one_target(self) -> "TrainConfig":
        if self.soft_labels and (self.use_strength or self.learn_ties or self.label_smoothing):
            raise PydanticCustomError(
                "one_target",
                "cannot go together with “Use how much better”, “Learn from ties” or “Label smoothing”: each is an "
                "answer to the same doubt",
                {"field": "soft_labels"},
            )
        return self
