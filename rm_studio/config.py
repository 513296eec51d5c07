"""What a project is made of, as frozen models.

Each field carries its own label (``title``), help (``description``) and bounds: the forms, the command
line and the docs read them from here, so that they are written once.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from rm_studio import assets
from rm_studio.errors import StudioError

BUILTIN_MODEL = "builtin"
SAMPLE_NAME = "RM Studio sample"


class Frozen(BaseModel):
    """A value: compared by content, never changed in place."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(Frozen):
    """Where the rows of a project come from."""

    kind: Literal["hub", "file", "paste", "sample", "feedback"] = "file"
    name: str = Field("", title="Name", description="A dataset on the Hub as owner/name, or the name of a file.")
    config: str | None = Field(None, title="Subset", description="Some datasets have several; the first is usual.")
    split: str = Field("train", title="Split", description="The part of the dataset to read; most have “train”.")
    revision: str | None = None
    limit: int = Field(
        0,
        title="At most this many rows",
        ge=0,
        description="0 reads all. Everything is read in pieces, so that large data needs time but no memory.",
    )
    sampled: bool = Field(
        False,
        title="A random sample instead of the first rows",
        description="Every row is then looked at once; the same project draws the same sample again.",
    )

    @property
    def label(self) -> str:
        """How the source is called in a sentence."""
        return {"sample": SAMPLE_NAME, "paste": "a pasted table"}.get(self.kind, self.name)


Shape = Literal["columns", "chosen", "list", "rows"]
Verdict = Literal["none", "choice", "strength", "probability", "rating"]


class ColumnMapping(Frozen):
    """Which column means what."""

    shape: Shape = Field(
        "columns",
        title="How the answers are kept",
        description="Side by side in columns, as chosen and rejected, as a list in one column, or one answer a row.",
    )
    prompt: str | None = Field(None, title="Prompt", description="What was asked. None where the answers hold it.")
    answers: tuple[str, ...] = Field(
        (),
        title="Answers",
        description="Two or more columns, each with one answer; or the one column that holds them.",
    )
    sources: tuple[str, ...] = Field(
        (),
        title="Who answered (optional)",
        description="The column with the model’s name; for answers side by side one for each. Annotators never see it.",
    )
    system: str | None = Field(
        None, title="System prompt (optional)", description="Instructions that stood before the prompt."
    )
    verdict: Verdict = Field(
        "none",
        title="What the judgement is",
        description="A choice (1 or 2, A or B, a tie), how much better the second answer is, the probability that the "
        "second is better, or a rating.",
    )
    verdict_in: tuple[str, ...] = Field(
        (), title="Judgement (optional)", description="The column in which people or a program already judged."
    )
    id: str | None = Field(None, title="Id (optional)", description="Your own name for each row.")
    category: str | None = Field(None, title="Category (optional)", description="Used to group results.")

    @property
    def is_judged(self) -> bool:
        """Whether the rows already say which answer is better."""
        return self.shape == "chosen" or self.verdict != "none"


class Selection(Frozen):
    """What is annotated of what was read."""

    pairing: Literal["all", "random", "baseline", "together"] = Field(
        "all",
        title="Of several answers to a prompt",
        description="Every pair of them, some pairs at random, each against one, or all at once.",
    )
    pairs_each: int = Field(1, title="Pairs of each prompt", ge=1, le=100, description="With pairs at random.")
    baseline: str = Field("", title="The one to compare with", description="With each against one: its name.")
    together: int = Field(
        2,
        title="Answers at once",
        ge=2,
        le=8,
        description="With all at once: prompts with fewer are left out, of more some are drawn.",
    )
    limit: int = Field(
        0,
        title="At most this many comparisons",
        ge=0,
        description="0 takes all. A few hundred are enough for a first model.",
    )
    stratified: bool = Field(
        True,
        title="From each category its share",
        description="So that a small sample has the same mix as the whole.",
    )
    one_a_prompt: bool = Field(
        False, title="Each prompt once", description="Leave out comparisons whose prompt was there before."
    )
    longest: int = Field(
        0,
        title="Longest text, in tokens",
        ge=0,
        description="Leave out comparisons with a longer answer; a token is about ¾ of a word. 0 keeps all. The "
        "built-in model reads 512, prompt and answer together.",
    )
    others_as_text: bool = Field(
        False,
        title="Take numbers as text",
        description="Cells that are no text, such as 42, are answers too.",
    )


Kind = Literal["best_of_two", "best_of_many", "ranking", "strength", "rating"]


class Question(Frozen):
    """What annotators are asked, with the names the Argilla tutorial uses."""

    name: str = "choose-best"
    kind: Kind = Field("best_of_two", title="Kind of question")
    title: str = Field(
        "Choose the best answer",
        title="Question",
        min_length=1,
        max_length=200,
        description="Shown above the buttons.",
    )
    description: str = Field(
        "1 if the first answer is better, 2 if the second is. Discard when they are equally good or bad.",
        title="Hint",
        max_length=500,
        description="One line under the question: what each value means.",
    )
    values: tuple[int, ...] = Field(
        (1, 2),
        title="Accepted values",
        description="1 stands for the first answer on the page, 2 for the second.",
    )
    ties: bool = Field(
        False,
        title="Offer “about the same” as an answer",
        description="A tie is worth something too: the model can learn from ties. Without it, annotators discard.",
    )
    criteria: tuple[str, ...] = Field(
        ("Helpful",),
        title="Criteria",
        min_length=1,
        max_length=6,
        description="What each answer is rated on: helpful, truthful, harmless, or your own.",
    )
    points: Literal[5, 7] = Field(5, title="Rated from 1 to", description="More steps tell more, and agree less.")
    reasons: tuple[str, ...] = Field(
        (),
        title="Reasons to tick (optional)",
        max_length=12,
        description="Such as “wrong facts” or “too long”: what people point to.",
    )
    reasons_required: bool = Field(False, title="At least one reason must be ticked")
    comment: bool = Field(False, title="A line for comments")
    comment_required: bool = Field(False, title="The comment must be written")
    annotators: int = Field(
        1,
        title="Answers wanted for each comparison",
        ge=1,
        le=10,
        description="By different people. One goes fastest; two or more show how far people agree.",
    )
    use_markdown: bool = Field(
        False,
        title="Show the texts as Markdown",
        description="Headings, lists, code and formulas look as meant. Leave it off for plain text.",
    )
    guidelines: str = Field(
        default_factory=lambda: assets.path("guidelines/general.md").read_text(encoding="utf-8"),
        title="Guidelines",
        max_length=10_000,  # argilla-server 2.8: GUIDELINES_MAX_LENGTH
        description="What annotators read before they begin. Markdown.",
    )

    @model_validator(mode="after")
    def _at_least_two_reasons(self) -> "Question":
        if len(self.reasons) == 1:  # Argilla offers two or more
            raise PydanticCustomError("one_reason", "needs at least two, or none", {"field": "reasons"})
        return self


class ArgillaDataset(Frozen):
    """The dataset on the annotation server that this project was published to."""

    server: str
    workspace: str
    name: str
    n_records: int
    published_at: str
    id: str = ""


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
    def _one_target(self) -> "TrainConfig":
        if self.soft_labels and (self.use_strength or self.learn_ties or self.label_smoothing):
            raise PydanticCustomError(
                "one_target",
                "cannot go together with “Use how much better”, “Learn from ties” or “Label smoothing”: each is an "
                "answer to the same doubt",
                {"field": "soft_labels"},
            )
        return self


# pydantic's own sentences speak to programmers.
_RULES = {
    "string_too_short": "must not be empty",
    "string_too_long": "is too long: {max_length} characters at most",
    "too_short": "must not be empty",
    "too_long": "has too many lines: {max_length} at most",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must not be empty",
    "less_than": "must be less than {lt}",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
}


def parse_settings(model: type[BaseModel], values: dict[str, Any]) -> Any:
    """Build ``model`` from ``values``.

    Raises:
        StudioError: naming the first field that does not fit, by its label, and why.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0] if first["loc"] else first.get("ctx", {}).get("field", ""))
        if name not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise StudioError(f"There is no setting called “{name}”. The settings are: {known}.") from error
        label = model.model_fields[name].title or name
        rule = _RULES.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
        raise StudioError(f"“{label}” {rule}.") from error
