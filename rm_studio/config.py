"""What a project is made of, as frozen models.

Each field carries its own label (``title``), help (``description``) and bounds: the forms, the command
line and the docs read them from here, so that they are written once.
"""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rm_studio import assets
from rm_studio.settings import Frozen

SAMPLE_NAME = "RM Studio sample"


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
        description="A choice (1 or 2, A or B, a tie), how much better one answer is or how probably it is (the chosen "
        "one; of two side by side the second), or a rating.",
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
