"""Datasets of the Hub that people ask for first, with what their columns mean."""

from typing import NamedTuple

from rm_studio.config import ColumnMapping, DataSource


class Example(NamedTuple):
    """A dataset of the Hub with the mapping that its authors used; None where it is recognised by itself."""

    title: str
    source: DataSource
    mapping: ColumnMapping | None = None


def _hub(name: str, split: str = "train", config: str | None = None) -> DataSource:
    return DataSource(kind="hub", name=name, split=split, config=config)


TUTORIAL = Example(
    "The Argilla tutorial’s: a human answer against Falcon-7B’s",
    _hub("argilla/dolly-curated-comparison-falcon-7b-instruct"),
    ColumnMapping(prompt="prompt", answers=("original_response", "response-1"), id="external_id", category="category"),
)
EXAMPLES = (
    TUTORIAL,
    Example("The same, with people’s judgements", _hub("argilla/comparison-data-falcon-with-feedback")),
    Example("UltraFeedback, chosen and rejected", _hub("HuggingFaceH4/ultrafeedback_binarized", split="train_prefs")),
    Example("UltraFeedback, four rated answers each", _hub("openbmb/UltraFeedback")),
    Example("hh-rlhf: people on helpful and harmless", _hub("Anthropic/hh-rlhf")),
    Example("HelpSteer 2: rated answers", _hub("nvidia/HelpSteer2")),
    Example("HelpSteer 3: how much better", _hub("nvidia/HelpSteer3", config="preference")),
    Example("Skywork’s preference set", _hub("Skywork/Skywork-Reward-Preference-80K-v0.2")),
    Example("Orca DPO pairs", _hub("Intel/orca_dpo_pairs")),
)


def example_of(source: DataSource) -> Example | None:
    """The example that a source is, or None."""
    return next((known for known in EXAMPLES if source.kind == "hub" and known.source.name == source.name), None)
