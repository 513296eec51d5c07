"""How a step's texts are put through the model: the same scores, with less to compute. Only the worker imports this.

- Steps take pairs of like length together, in random order (`LengthGrouped`).
- A step is computed in parts of so many tokens, so that memory depends on tokens and not on the batch (`parts`).
- A part is run in slices of texts of like length, so that little is padding (`slices`).
- A decoder reads the beginning that both answers share, the prompt, once (`shared_prefix`, `packed`).
"""

import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Sampler

# One more forward pass costs about as much time as this many tokens of padding (measured with 22M weights on two cores;
# on a card, where a pass takes hundreds of launches, far more).
PASS_COSTS_TOKENS = {"cpu": 48, "cuda": 4096, "mps": 2048}
BATCHES_SORTED_TOGETHER = 16
FLOAT32_ATTENTION = "sdpa_float32"
WORTH_SHARING = 0.1  # of the tokens; below, one mask for all is quicker


class Packed(NamedTuple):
    """Pairs with their prompts computed once: ids and positions (rows, width), who sees whom (rows, 1, width, width),
    and where each row's chosen and rejected answers end (rows, 2)."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    ends: torch.Tensor


class LengthGrouped(Sampler[int]):
    """Every pair once an epoch, those of like length side by side; batches come in random order.

    The order depends on the seed and the epoch only, so a resumed run finds its place again. accelerate sets
    the epoch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        many = self.batch_size * BATCHES_SORTED_TOGETHER
        batches = []
        for begin in range(0, len(shuffled), many):
            together = sorted(shuffled[begin : begin + many], key=self.lengths.__getitem__, reverse=True)
            batches += [together[i : i + self.batch_size] for i in range(0, len(together), self.batch_size)]
        # A batch that is not full stays last: elsewhere it would shift all that follow.
        full = len(batches) - (len(batches[-1]) < self.batch_size) if batches else 0
        order = torch.randperm(full, generator=generator).tolist()
        for index in [*order, *range(full, len(batches))]:
            yield from batches[index]


def parts(sizes: Sequence[int], tokens_at_once: int) -> list[list[int]]:
    """Indices of pairs in parts of at most ``tokens_at_once`` padded tokens, but one pair at least; longest first.

    A pair's size is twice the longer of its texts, in tokens.
    """
    found: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        if not found or widest * (len(found[-1]) + 1) > tokens_at_once:
            found.append([])
            widest = sizes[index]
        found[-1].append(index)
    return found


def slices(lengths: Sequence[int], pass_costs: int) -> list[list[int]]:
    """Indices of texts in slices of like length, such that padding and passes together cost least.

    An exact minimum over all ways to cut the sorted texts, by dynamic programming; a few dozen texts take no time.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    best = [0.0] * (len(order) + 1)
    cut = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        width = lengths[order[end - 1]]
        best[end], cut[end] = min((best[begin] + width * (end - begin) + pass_costs, begin) for begin in range(end))
    found, end = [], len(order)
    while end:
        found.append(order[cut[end] : end])
        end = cut[end]
    return found


def shared_prefix(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many tokens two texts begin with in common, leaving each one of its own at least."""
    n = min(len(one), len(other)) - 1
    same = one[:n] == other[:n]
    return n if bool(same.all()) else int(same.long().argmin())


def packed(chosen: Sequence[torch.Tensor], rejected: Sequence[torch.Tensor], pad_token_id: int) -> Packed:
    """Each pair as one row: what both texts begin with, the rest of the chosen one, the rest of the rejected one.

    The mask lets every token see what came before it in its own text only, and the positions are those that it has
    there, so a causal model gives each text the scores that it has alone.
    """
    prefixes = [shared_prefix(one, other) for one, other in zip(chosen, rejected, strict=True)]
    widths = [len(one) + len(other) - prefix for one, other, prefix in zip(chosen, rejected, prefixes, strict=True)]
    rows, width = len(prefixes), max(widths)
    device = chosen[0].device
    input_ids = torch.full((rows, width), pad_token_id, device=device)
    position_ids = torch.zeros((rows, width), dtype=torch.long, device=device)
    part = torch.full((rows, width), 3, device=device)  # 0: shared, 1: chosen, 2: rejected, 3: padding
    ends = torch.zeros((rows, 2), dtype=torch.long, device=device)
    for row, (one, other, prefix) in enumerate(zip(chosen, rejected, prefixes, strict=True)):
        middle, end = len(one), widths[row]
        input_ids[row, :middle], input_ids[row, middle:end] = one, other[prefix:]
        position_ids[row, :middle] = torch.arange(middle, device=device)
        position_ids[row, middle:end] = torch.arange(prefix, len(other), device=device)
        part[row, :prefix], part[row, prefix:middle], part[row, middle:end] = 0, 1, 2
        last = _scored_token(other, pad_token_id)
        ends[row, 0] = _scored_token(one, pad_token_id)
        ends[row, 1] = last if last < prefix else middle + last - prefix
    seen, seer = part[:, None, :], part[:, :, None]
    causal = torch.ones((width, width), dtype=torch.bool, device=device).tril()
    mask = causal & ((seen == seer) | (seen == 0))
    return Packed(input_ids, position_ids, mask[:, None], ends)


def _scored_token(ids: torch.Tensor, pad_token_id: int) -> int:
    """The place that transformers' own decoders score: the last token that is not padding (eos may be)."""
    places = (ids != pad_token_id).nonzero()
    return int(places[-1]) if len(places) else 0


def attend_in_float32(model: Any) -> None:
    """On a processor, take attention out of the autocast to bfloat16.

    torch's kernel for it is two to three times slower backwards in bfloat16 than in float32 (measured with torch 2.13),
    while products of matrices are faster.
    """
    if model.config._attn_implementation != "sdpa":
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            inputs = (query.float(), key.float(), value.float())
            mask = mask.float() if mask is not None and mask.is_floating_point() else mask
            output, weights = sdpa_attention_forward(module, *inputs, mask, **options)
        return output.to(query.dtype), weights

    AttentionInterface.register(FLOAT32_ATTENTION, attend)
    AttentionMaskInterface.register(FLOAT32_ATTENTION, sdpa_mask)
    model.set_attn_implementation(FLOAT32_ATTENTION)


class _Rows(torch.autograd.Function):
    """Rows of an embedding; their gradient is added where it belongs, instead of to a table of zeros for each pass."""

    @staticmethod
    def forward(ctx: Any, ids: torch.Tensor, weight: torch.Tensor, no_gradient: int | None) -> torch.Tensor:
        ctx.ids, ctx.weight, ctx.no_gradient = ids, weight, no_gradient
        return weight[ids]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        weight, ids = ctx.weight, ctx.ids.reshape(-1)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, ids, gradients[0].reshape(len(ids), -1).to(weight.dtype))
        if ctx.no_gradient is not None:  # torch keeps that row, of padding, as it is
            weight.grad[ctx.no_gradient] = 0
        return None, None, None


def add_embedding_gradients_in_place(model: Any) -> None:
    """Make many small passes cheap: each would fill a table as large as the vocabulary with zeros (a sixth of a step's
    time with 30,000 words). For a single process only: gradients that several exchange must go the usual way."""
    embedding, rows = model.get_input_embeddings(), typing.cast(Any, _Rows)
    if type(embedding) is torch.nn.Embedding and embedding.weight.requires_grad and embedding.max_norm is None:
        no_gradient = embedding.padding_idx
        setattr(embedding, "forward", lambda ids: rows.apply(ids, embedding.weight, no_gradient))  # noqa: B010


def can_pack(model: Any) -> bool:
    """Whether prompts can be computed once with this model: a plain causal decoder that scores its last token."""
    from transformers.modeling_layers import GenericForSequenceClassification

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    attention = getattr(config, "_attn_implementation", None)
    # A mask that is given replaces the model's own, so layers that see only a window would see everything.
    windowed = kinds != {"full_attention"} or (
        getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    )
    bidirectional = not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False)
    return (
        isinstance(inner, GenericForSequenceClassification)
        and attention in ("sdpa", "eager", FLOAT32_ATTENTION)
        and not windowed
        and not bidirectional
    )
