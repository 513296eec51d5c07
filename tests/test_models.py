"""Models: found, refused in plain words, loaded safely (FAULTS, model)."""

import json
import shutil
import time
from pathlib import Path

import pytest
from fake_hub import serving

from rm_studio import models
from rm_studio.errors import HubError, ModelError


def changed(source: Path, target: Path, **config: object) -> Path:
    """A copy of a model folder with other values in its config.json."""
    shutil.copytree(source, target)
    content = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**content, **config}))
    return target


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


def test_an_encoder_gets_a_new_head_for_training(tiny_bert: Path) -> None:
    loaded = models.load(str(tiny_bert), for_training=True)
    assert loaded.new_head
    assert loaded.model.config.num_labels == 1
    assert loaded.tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_a_decoder_gets_a_new_head_and_pads_with_its_end_token(tiny_decoder: Path) -> None:
    loaded = models.load(str(tiny_decoder), for_training=True)
    assert loaded.new_head
    assert loaded.tokenizer.pad_token == "<|end|>"
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id


def test_a_model_without_a_head_is_not_scored_with(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match="has no scoring head"):
        models.load(str(tiny_bert), for_training=False)


def test_a_classifier_of_five_labels_is_no_reward_model_but_can_become_one(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    folder = tmp_path / "five"
    shutil.copytree(tiny_bert, folder)
    BertForSequenceClassification.from_pretrained(tiny_bert, num_labels=5).save_pretrained(folder)
    with pytest.raises(ModelError, match="5 labels"):
        models.load(str(folder), for_training=False)
    assert models.load(str(folder), for_training=True).new_head


def test_neither_padding_nor_end_token_is_refused(tiny_decoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_decoder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="neither a padding token"):
        models.load(str(folder), for_training=True)


def test_pickled_weights_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors"):
        models.load(str(folder), for_training=True)


def test_a_model_that_asks_for_its_own_code_is_refused_and_the_code_not_run(tiny_bert: Path, tmp_path: Path) -> None:
    folder = changed(
        tiny_bert, tmp_path / "remote", model_type="unheard_of", auto_map={"AutoConfig": "evil.EvilConfig"}
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="program code"):
        models.load(str(folder), for_training=True)
    assert not (tmp_path / "ran").exists()


def test_a_vision_model_is_no_text_model(tiny_bert: Path, tmp_path: Path) -> None:
    folder = changed(tiny_bert, tmp_path / "vision", model_type="vit", architectures=["ViTModel"])
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match="not a text model"):
        models.load(str(folder), for_training=True)


def test_a_damaged_weights_file_is_said_without_a_path(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="incomplete or damaged") as caught:
        models.load(str(folder), for_training=True)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "http://x/y", "/nowhere/at/all", "a/b/c", "../up"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="neither a folder"):
        models.locate(name)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        models.locate(str(tmp_path))


def test_a_model_of_the_hub_is_downloaded_without_its_pickles_and_then_works_offline(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_bert, source)
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    with serving({"models/team/tiny": source}) as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "cache")
        folder = models.locate("team/tiny")
        assert models.load("team/tiny", for_training=True).new_head
        assert not any("pytorch_model.bin" in request and "resolve" in request for request in hub.requests)
    assert models.locate("team/tiny") == folder  # the hub is gone now


def test_the_size_of_a_model_on_the_hub_is_asked_without_its_weights_and_without_waiting_long(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({"models/team/tiny": tiny_bert}) as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "cache")
        assert models.facts("team/tiny") == models.facts(str(tiny_bert)) is not None
        assert not any("safetensors" in request for request in hub.requests)
    begun = time.monotonic()
    assert models.facts("team/tiny") is None  # the hub is gone now
    assert time.monotonic() - begun < 5


def test_an_unknown_model_and_no_network_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "cache")
        with pytest.raises(HubError, match="There is no model"):
            models.locate("team/unknown")
    with pytest.raises(HubError, match=r"could not be reached.*builtin"):
        models.locate("team/unknown")
