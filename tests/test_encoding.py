"""One way from text to tokens, for training and scoring alike."""

from pathlib import Path

import pytest

from rm_studio import encoding, models
from rm_studio.data.turns import Turn, read_back, written
from rm_studio.encoding import TextFormat, choose_format, encode
from rm_studio.errors import ModelError


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> models.Loaded:
    return models.load(str(tiny_bert), for_training=True)


@pytest.fixture(scope="module")
def decoder(tiny_decoder: Path) -> models.Loaded:
    return models.load(str(tiny_decoder), for_training=True)


def test_formats_follow_what_the_tokenizer_knows(bert: models.Loaded, decoder: models.Loaded) -> None:
    assert choose_format(bert.tokenizer, bert.model.config, 512) == TextFormat(style="pair", max_length=64)
    assert choose_format(decoder.tokenizer, decoder.model.config, 100) == TextFormat(style="plain", max_length=100)


def test_a_chat_template_is_used_where_there_is_one(decoder: models.Loaded) -> None:
    decoder.tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    try:
        chosen = choose_format(decoder.tokenizer, decoder.model.config, 100)
        assert chosen.style == "chat"
        ids = encode(decoder.tokenizer, chosen, ["Hello?"], ["Hi."]).ids[0]
        assert decoder.tokenizer.decode(ids) == "[user] Hello? [assistant] Hi. "
    finally:
        decoder.tokenizer.chat_template = None


def test_a_prompt_of_several_turns_is_those_turns_again(decoder: models.Loaded) -> None:
    talk = [Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "Bye\n\nnow")]
    plain = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    chat = TextFormat(style="chat", max_length=100)
    try:
        decoder.tokenizer.chat_template = plain
        said = encoding.as_text(decoder.tokenizer, chat, written(talk), "Take care.")
        assert said == "[system] Be kind. [user] Hi [assistant] Hello! [user] Bye\n\nnow [assistant] Take care. "
        decoder.tokenizer.chat_template = no_system + plain
        said = encoding.as_text(decoder.tokenizer, chat, written(talk), "Take care.")
        assert said.startswith("[user] Be kind.\n\nHi [assistant] Hello!")
        strict = "{% if messages[0].role != 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}"
        decoder.tokenizer.chat_template = strict + plain
        odd = "Assistant: Hello!\n\nUser: hi"
        said = encoding.as_text(decoder.tokenizer, chat, odd, "Yes.")
        assert said == f"[user] {odd} [assistant] Yes. ", "turns that it does not take are one prompt"
    finally:
        decoder.tokenizer.chat_template = None
    assert read_back("User: alone") is None and read_back("Plain.\n\nUser: x\n\nAssistant: y") is None


def test_roberta_loses_the_two_positions_that_it_does_not_use() -> None:
    from transformers import RobertaConfig

    class Tokenizer:
        model_max_length, chat_template, sep_token, cls_token = 10_000, None, "</s>", "<s>"

    config = RobertaConfig(max_position_embeddings=514, pad_token_id=1)
    assert choose_format(Tokenizer(), config, 512).max_length == 512  # type: ignore[arg-type]
    assert choose_format(Tokenizer(), config, 4096).max_length == 512  # type: ignore[arg-type]


def test_a_pair_is_the_tokenizer_s_own_two_text_form(bert: models.Loaded) -> None:
    text_format = TextFormat(style="pair", max_length=64)
    ids = encode(bert.tokenizer, text_format, ["what"], ["this"]).ids[0]
    assert ids == bert.tokenizer("what", "this")["input_ids"]


def test_plain_text_ends_with_the_end_token(decoder: models.Loaded) -> None:
    ids = encode(decoder.tokenizer, TextFormat(style="plain", max_length=64), ["what"], ["this"]).ids[0]
    assert decoder.tokenizer.decode(ids) == "what\n\nthis<|end|>"


@pytest.mark.parametrize("style", ["pair", "plain"])
def test_a_long_prompt_loses_its_beginning_never_the_answer(
    bert: models.Loaded, decoder: models.Loaded, style: str
) -> None:
    tokenizer = (bert if style == "pair" else decoder).tokenizer
    text_format = TextFormat(style=style, max_length=40)  # type: ignore[arg-type]
    prompt = "start " + "and more words " * 50 + "the very end"
    encoded = encode(tokenizer, text_format, [prompt, "short"], ["keep this answer", "fine"])
    text = tokenizer.decode(encoded.ids[0])
    assert len(encoded.ids[0]) <= 40
    assert "keep this answer" in text and "very end" in text and "start" not in text
    assert encoded.prompt_cut == [True, False]
    assert encoded.answer_cut == [False, False]


def test_an_answer_that_does_not_fit_by_itself_loses_its_end_and_says_so(bert: models.Loaded) -> None:
    encoded = encode(bert.tokenizer, TextFormat(style="pair", max_length=30), ["a prompt"], ["first " + "more " * 100])
    assert len(encoded.ids[0]) <= 30
    assert encoded.answer_cut == [True]
    assert "first" in bert.tokenizer.decode(encoded.ids[0])


@pytest.mark.parametrize(("prompt", "answer"), [("🧿" * 60, "fine"), ("short", "🧿" * 60)])
def test_characters_of_several_tokens_are_cut_too(decoder: models.Loaded, prompt: str, answer: str) -> None:
    encoded = encode(decoder.tokenizer, TextFormat(style="plain", max_length=21), [prompt], [answer])
    assert len(encoded.ids[0]) <= 21


def test_no_room_at_all_is_an_error_not_a_loop(bert: models.Loaded) -> None:
    with pytest.raises(ModelError, match="no room"):
        encode(bert.tokenizer, TextFormat(style="pair", max_length=2), ["a"], ["b"])


def test_the_format_is_kept_beside_the_weights(tmp_path: Path) -> None:
    text_format = TextFormat(style="chat", max_length=7)
    encoding.write_format(tmp_path, text_format)
    assert encoding.read_format(tmp_path) == text_format
    assert encoding.read_format(tmp_path / "other") is None
