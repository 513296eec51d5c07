"""How a prompt and an answer become the tokens that a reward model reads: in training, evaluation and scoring alike.

Three formats, chosen by what the tokenizer knows and kept beside the weights:

- ``pair``: encoders such as BERT: the tokenizer's own two-text form, ``[CLS] prompt [SEP] answer [SEP]``.
- ``chat``: a tokenizer with a chat template: a user's turn and the assistant's; a prompt of several turns, as `data`
  writes it, as those turns.
- ``plain``: other decoders: ``prompt``, an empty line, ``answer``, end of text.

What does not fit loses the *beginning* of its prompt; only an answer that does not fit by itself loses its end,
and both are reported.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rm_studio.data.turns import Turn, read_back
from rm_studio.errors import ModelError
from rm_studio.settings import Frozen
from rm_studio.workspace import read_json, write_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

FORMAT_FILE = "rm_studio.json"
# Their position numbers start after the padding index (transformers: create_position_ids_from_input_ids).
OFFSET_POSITIONS = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
}


class TextFormat(Frozen):
    """A model's format and the most tokens that it reads."""

    style: Literal["pair", "chat", "plain"]
    max_length: int


class Encoded(NamedTuple):
    """One list of token ids a text, and which texts lost part of their prompt or of their answer."""

    ids: list[list[int]]
    prompt_cut: list[bool]
    answer_cut: list[bool]


def choose_format(
    tokenizer: "PreTrainedTokenizerBase",
    config: "PretrainedConfig",
    max_length: int,
    kept: TextFormat | None = None,
) -> TextFormat:
    """The format for a model, and ``max_length`` lowered to what its positions allow (in tokens).

    A model that was trained with a format ``kept`` beside it stays with that.
    """
    limits = [max_length, tokenizer.model_max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    limit = int(min(limits))
    if kept:
        return TextFormat(style=kept.style, max_length=limit)
    if tokenizer.chat_template:
        return TextFormat(style="chat", max_length=limit)
    if tokenizer.sep_token and tokenizer.cls_token:
        return TextFormat(style="pair", max_length=limit)
    return TextFormat(style="plain", max_length=limit)


def read_format(folder: Path) -> TextFormat | None:
    """The format kept in a model folder; None for a model that was not made here."""
    content = read_json(folder / FORMAT_FILE)
    return TextFormat.model_validate(content) if content else None


def write_format(folder: Path, text_format: TextFormat) -> None:
    write_json(folder / FORMAT_FILE, text_format.model_dump())


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    text_format: TextFormat,
    prompts: Sequence[str],
    answers: Sequence[str],
) -> Encoded:
    """Tokenise texts, at most ``text_format.max_length`` ids each, and say what was cut."""
    limit = text_format.max_length
    prompts, answers = list(prompts), list(answers)
    ids = _tokens(tokenizer, text_format, prompts, answers) if prompts else []
    prompt_cut, answer_cut = [False] * len(ids), [False] * len(ids)
    for index, tokens in enumerate(ids):
        if len(tokens) <= limit:
            continue
        prompt, answer = prompts[index], answers[index]
        prompt_cut[index] = True
        # Tokens may join differently at a new edge, so a cut is measured again; each round removes what is over.
        while len(tokens) > limit and prompt:
            prompt = _without_start(tokenizer, prompt, len(tokens) - limit)
            tokens = _tokens(tokenizer, text_format, [prompt], [answer])[0]
        while len(tokens) > limit and answer:
            answer_cut[index] = True
            answer = _without_end(tokenizer, answer, len(tokens) - limit)
            tokens = _tokens(tokenizer, text_format, [prompt], [answer])[0]
        if len(tokens) > limit:
            raise ModelError(f"A maximum length of {limit} tokens leaves no room for any text. Choose a larger one.")
        ids[index] = tokens
    return Encoded(ids, prompt_cut, answer_cut)


def as_text(tokenizer: "PreTrainedTokenizerBase", text_format: TextFormat, prompt: str, answer: str) -> str:
    """The one text that a decoder reads for a prompt and an answer (formats ``chat`` and ``plain``)."""
    if text_format.style == "chat":
        from jinja2 import TemplateError

        if spoken := read_back(prompt):
            with suppress(TemplateError):  # one that wants other turns takes them all as one
                return _templated(tokenizer, [*spoken, Turn("assistant", answer)])
        return _templated(tokenizer, [Turn("user", prompt), Turn("assistant", answer)])
    return f"{prompt}\n\n{answer}{tokenizer.eos_token or ''}"


def _templated(tokenizer: "PreTrainedTokenizerBase", spoken: list[Turn]) -> str:
    """A conversation through the chat template; where that knows no system prompt (Gemma), the user says it."""
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": turn.text} for turn in spoken]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except TemplateError:
        if spoken[0].role != "system" or len(spoken) < 3:
            raise
    system, first, *rest = messages
    joined = {"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}
    return str(tokenizer.apply_chat_template([joined, *rest], tokenize=False))


def _tokens(
    tokenizer: "PreTrainedTokenizerBase", text_format: TextFormat, prompts: list[str], answers: list[str]
) -> list[list[int]]:
    options: dict[str, Any] = {"truncation": False, "verbose": False, "return_attention_mask": False}
    if text_format.style == "pair":
        return list(tokenizer(prompts, answers, **options)["input_ids"])
    texts = [as_text(tokenizer, text_format, *texts) for texts in zip(prompts, answers, strict=True)]
    special = text_format.style == "plain"  # a chat template writes its own
    return list(tokenizer(texts, add_special_tokens=special, **options)["input_ids"])


def _spans(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[tuple[int, int]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
    return list(encoded["offset_mapping"])


def _without_start(tokenizer: "PreTrainedTokenizerBase", text: str, n_tokens: int) -> str:
    spans = _spans(tokenizer, text)
    cut = text[spans[n_tokens][0] :] if n_tokens < len(spans) else ""
    return cut if len(cut) < len(text) else text[1:]  # several tokens may stand for one character


def _without_end(tokenizer: "PreTrainedTokenizerBase", text: str, n_tokens: int) -> str:
    spans = _spans(tokenizer, text)
    cut = text[: spans[-n_tokens - 1][1]] if n_tokens < len(spans) else ""
    return cut if len(cut) < len(text) else text[:-1]
