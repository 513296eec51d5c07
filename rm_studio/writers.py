"""Who writes answers: a model behind an address that speaks OpenAI's chat protocol, at a provider, or run here."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import Field

from rm_studio.errors import GenerationError
from rm_studio.settings import Frozen

TIMEOUT_S = 120.0  # for one answer

Messages = list[dict[str, str]]


class Contender(Frozen):
    """A model that writes answers, and how."""

    kind: Literal["address", "providers", "here"] = Field("address", title="Where the model runs")
    address: str = Field(
        "http://127.0.0.1:8000/v1",
        title="Address",
        description="Of a server that speaks OpenAI’s protocol: vLLM, transformers serve and most others; Ollama’s is "
        "http://127.0.0.1:11434/v1.",
    )
    model: str = Field(
        "", title="Model", min_length=1, description="Its name there: owner/name on the Hub, or Ollama’s own."
    )
    answers: int = Field(1, title="Answers to each prompt", ge=1, le=8, description="More need a temperature above 0.")
    temperature: float = Field(
        0.7, title="Temperature", ge=0, le=2, description="0 gives the likeliest words, 1 varied ones."
    )
    max_tokens: int = Field(
        512, title="Longest answer, in tokens", ge=1, le=32_768, description="About ¾ of a word each."
    )
    system: str = Field("", title="System prompt (optional)", description="Instructions before every prompt.")

    @property
    def source(self) -> str:
        """How the answers' source is called; annotators never see it."""
        return self.model


class Writer(Protocol):
    """Writes an answer to a conversation."""

    def __call__(self, messages: Messages, seed: int) -> str: ...


@contextmanager
def writer_of(contender: Contender, token: str | None = None) -> Iterator[Writer]:
    """What writes this contender's answers, for as long as it is needed.

    Raises:
        GenerationError: the address must not be asked, or the model cannot be loaded.
    """
    if contender.kind == "here":
        yield Local(contender)
    elif contender.kind == "providers":
        yield _at_a_provider(contender, token)
    else:
        check_address(contender.address)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # Not through InferenceClient: that follows redirects, and an address that was checked could lead to any other.
        with httpx.Client(headers=headers, timeout=TIMEOUT_S, follow_redirects=False) as client:
            yield _behind_address(contender, client)


def _behind_address(contender: Contender, client: httpx.Client) -> Writer:
    url = f"{contender.address.rstrip('/')}/chat/completions"

    def write(messages: Messages, seed: int) -> str:
        came = client.post(url, json={"messages": messages, "seed": seed, **_settings(contender)}).raise_for_status()
        return str(came.json()["choices"][0]["message"]["content"] or "")

    return write


def _at_a_provider(contender: Contender, token: str | None) -> Writer:
    from huggingface_hub import InferenceClient

    client = InferenceClient(provider="auto", api_key=token or None, timeout=TIMEOUT_S)

    def write(messages: Messages, seed: int) -> str:
        came = client.chat_completion(messages=messages, seed=seed, **_settings(contender))
        return str(came.choices[0].message.content or "")

    return write


def _settings(contender: Contender) -> dict[str, Any]:
    return contender.model_dump(include={"model", "max_tokens", "temperature"})


def check_address(address: str) -> None:
    """Raise GenerationError unless this is a web address that may be asked (FAULTS 42).

    A network of one's own is fine, that is where models run; link-local addresses, where clouds keep their secrets,
    and everything but http and https are not.
    """
    wrong = GenerationError(
        f"“{address}” is not an address that can be asked. It looks like http://127.0.0.1:8000/v1 or "
        "https://models.example.org/v1."
    )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not host:
        raise wrong
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port or 80, proto=socket.IPPROTO_TCP)}
    except OSError as error:
        raise GenerationError(
            f"There is no server called “{host}”, or no network. Check the address, and that the server is running."
        ) from error
    for number in found:
        place = ipaddress.ip_address(str(number).partition("%")[0])
        mapped = getattr(place, "ipv4_mapped", None) or place
        is_reserved = mapped.version == 4 and mapped.is_reserved  # of version 6 that would be ::1 too
        if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified or is_reserved:
            raise wrong


class Local:
    """A model of the Hub or a folder, run in this process, one answer at a time."""

    def __init__(self, contender: Contender) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.contender = contender
        self.lock = threading.Lock()
        options: dict[str, Any] = {"trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(contender.model, **options)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            model: Any = AutoModelForCausalLM.from_pretrained(
                contender.model, use_safetensors=True, dtype="auto", **options
            )
            self.model = model.to(device).eval()
        except (OSError, ValueError) as error:
            raise GenerationError(
                f"The model “{contender.model}” could not be loaded: it must be a text-generating model on the Hub or "
                "in a folder, kept as safetensors, that needs no code of its own."
            ) from error

    def __call__(self, messages: Messages, seed: int) -> str:
        import torch

        with self.lock, torch.inference_mode():
            torch.manual_seed(seed)
            ids: Any
            if self.tokenizer.chat_template:
                ids = self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
                )
            else:
                text = "\n\n".join(message["content"] for message in messages) + "\n\n"
                ids = self.tokenizer(text, return_tensors="pt")
            ids = {name: ids[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            warm = self.contender.temperature > 0
            came = self.model.generate(
                **ids,
                max_new_tokens=self.contender.max_tokens,
                do_sample=warm,
                temperature=self.contender.temperature if warm else None,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
            return str(self.tokenizer.decode(came[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
