"""What a project is made of, as frozen models.

Each field carries its own label (``title``), help (``description``) and bounds: the forms, the command
line and the docs read them from here, so that they are written once.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rm_studio import assets
from rm_studio.errors import StudioError

BUILTIN_MODEL = "builtin"
SAMPLE_NAME = "RM Studio sample"


class Frozen(BaseModel):
    """A value: compared by content, never changed in place."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(Frozen):
    """Where the rows of a project come from."""

    kind: Literal["hub", "file", "sample", "feedback"] = "file"
    name: str = Field("", title="Name", description="A dataset on the Hub as owner/name, or the name of a file.")
    config: str | None = Field(None, title="Configuration", description="A subset of the dataset, if it has any.")
    split: str = Field("train", title="Split", description="The part of the dataset to read; most have “train”.")
    revision: str | None = None

    @property
    def label(self) -> str:
        """How the source is called in a sentence."""
        return SAMPLE_NAME if self.kind == "sample" else self.name


class ColumnMapping(Frozen):
    """Which column means what."""

    prompt: str = Field(title="Prompt", description="What was asked.")
    answers: tuple[str, ...] = Field(
        title="Answers", description="Two or more columns, each with one answer to the prompt."
    )
    id: str | None = Field(None, title="Id (optional)", description="Your own name for each row.")
    category: str | None = Field(None, title="Category (optional)", description="Used to group results.")


class Question(Frozen):
    """What annotators are asked, with the names the Argilla tutorial uses."""

    name: str = "choose-best"
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
        description="1 stands for the first answer on the page, 2 for the second. There is no value for "
        "“equal”: annotators discard those.",
    )
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
        default_factory=lambda: assets.path("guidelines.md").read_text(encoding="utf-8"),
        title="Guidelines",
        max_length=20_000,
        description="What annotators read before they begin. Markdown.",
    )


class ArgillaDataset(Frozen):
    """The dataset on the annotation server that this project was published to."""

    server: str
    workspace: str
    name: str
    n_records: int
    published_at: str
    id: str = ""


class TrainConfig(Frozen):
    """One training run."""

    base_model: Annotated[str, Field(min_length=1)] = Field(
        BUILTIN_MODEL,
        title="Base model",
        description="What the reward model starts from: a name on the Hugging Face Hub (owner/name), a folder, or "
        "“builtin”, a small English model that needs no download.",
    )
    epochs: float = Field(
        1.0,
        title="Epochs",
        gt=0,
        le=20,
        description="How many times the model sees every pair. 1 to 3 is usual; more tends to learn by heart.",
    )
    learning_rate: float = Field(
        1e-4,
        title="Learning rate",
        gt=0,
        description="How large each correction is. 2e-5 to 2e-4 suits small models; large ones need 1e-6 to 1e-5.",
    )
    batch_size: int = Field(
        16,
        title="Batch size",
        ge=1,
        le=512,
        description="Pairs looked at before each correction. Smaller needs less memory.",
    )
    max_length: int = Field(
        512,
        title="Maximum length",
        ge=16,
        le=32_768,
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


# pydantic's own sentences speak to programmers.
_RULES = {
    "string_too_short": "must not be empty",
    "string_too_long": "is too long: {max_length} characters at most",
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
        name = str(first["loc"][0]) if first["loc"] else ""
        if name not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise StudioError(f"There is no setting called “{name}”. The settings are: {known}.") from error
        label = model.model_fields[name].title or name
        rule = _RULES.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
        raise StudioError(f"“{label}” {rule}.") from error
