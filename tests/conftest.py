"""What the tests share: a workspace of their own, a really running Argilla, tiny real models, a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support import SHARED_DATA

from rm_studio.embedded import keeper, server
from rm_studio.workspace import Workspace


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a workspace of its own, and knows of no server and no hub but those that it makes."""
    folder = tmp_path / "home"
    monkeypatch.setenv("RM_STUDIO_HOME", str(folder))
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return folder


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace(home)


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace whose embedded Argilla is built and running, for the whole session."""
    found = Workspace(tmp_path_factory.mktemp("argilla-home"))
    server.start(found)
    keeper.stay(found, True)  # an app of one test must not end what the next one needs
    yield found
    server.stop(found)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Some plain English to train tiny tokenizers on."""
    from rm_studio import tables

    frame = tables.read_sample().frame
    return frame["prompt"].tolist() + frame["helpful"].tolist()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    """A BERT of a few thousand weights with 64 positions, and its tokenizer."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = BertWordPieceTokenizer()
    words.train_from_iterator(sentences, vocab_size=600, show_progress=False)
    words.save_model(str(folder))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    """A causal language model of the Qwen3 family without a padding token."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny-decoder")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences, vocab_size=600, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=128,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pairs() -> pd.DataFrame:
    """Forty preference pairs over ten prompts that a tiny model can learn: polite answers win."""
    rows = []
    for prompt in range(10):
        for answer in range(4):
            rows.append(
                {
                    "prompt": f"Question number {prompt}: what should I do?",
                    "chosen": f"Thank you for asking. Please try step {answer} first.",
                    "rejected": f"No idea, go away, number {answer}.",
                    "comparison_id": f"{prompt:02d}{answer:02d}",
                    "category": "even" if prompt % 2 == 0 else "odd",
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared comparison data is not beside the repository")
    return SHARED_DATA
