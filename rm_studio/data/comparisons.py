"""Items become comparisons and, where they carry judgements, feedback; what is left out on the way is counted.

A comparison is one prompt with the answers that are looked at together: two, or more where people choose among or rank
several at once. Its ``id`` is a hash of its content, so that the same comparison is never there twice, whatever is
loaded or published again.
"""

import hashlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from rm_studio.config import Selection
from rm_studio.data.items import Answer, Item, Vote
from rm_studio.errors import DataError
from rm_studio.ledger import Ledger
from rm_studio.preferences import FEEDBACK_COLUMNS

MAX_COMPARISONS = 200_000  # held in memory at once
MOST_ANSWERS = 64  # to one prompt; each two of them would be thousands of comparisons
TOKEN_BYTES = 4  # of UTF-8 a token, about: English with today's tokenizers; three bytes make most CJK characters
COMPARISON_COLUMNS = ["id", "prompt", "responses", "sources", "category", "row", "order"]


class Comparisons(NamedTuple):
    """Comparisons (``COMPARISON_COLUMNS``), the judgements that came with them, and the ledger of what is neither."""

    frame: pd.DataFrame
    ledger: dict[str, Any]
    feedback: pd.DataFrame


class _Candidate(NamedTuple):
    """Some of an item's answers, by their places in it, that could be a comparison."""

    item: Item
    places: tuple[int, ...]

    @property
    def answers(self) -> list[Answer]:
        return [self.item.answers[place] for place in self.places]


def build(
    items: Callable[[], Iterable[Item]],
    selection: Selection,
    seed: int,
    ledger: Ledger | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Comparisons:
    """Turn items into comparisons.

    Args:
        items: Gives them, each time it is called: drawing a sample needs two passes.
        selection: Which comparisons are made of an item's answers, and which of all are kept.
        seed: Draws the sample, and shuffles the order in which each comparison's answers are shown.
        ledger: Where what is left out is noted.
        on_progress: Called with the number of comparisons looked at so far, 0 while a sample is drawn; may raise.

    Raises:
        DataError: nothing is left.
    """
    ledger = ledger or Ledger("comparisons")
    limit = min(selection.limit or MAX_COMPARISONS, MAX_COMPARISONS)
    drawn = _draw(items(), selection, seed, on_progress) if selection.limit else None
    kept: dict[str, dict[str, Any]] = {}
    given: list[dict[str, Any]] = []
    prompts: set[str] = set()
    for candidate, reason in _candidates(items(), selection, seed):
        ledger.read += 1
        if ledger.read % 1000 == 0:
            on_progress(ledger.read)
        item = candidate.item
        if reason:
            ledger.drop(reason, item.row, item.prompt)
            continue
        # In an order that depends on nothing but the texts: feedback keeps its meaning when columns change places.
        answers, places = zip(*sorted(zip(candidate.answers, candidate.places, strict=True)), strict=True)
        responses = [answer.text for answer in answers]
        comparison_id = content_id(item.prompt, responses)
        known = comparison_id in kept
        if known:
            ledger.drop("the same comparison again", item.row, item.prompt)
        elif selection.one_a_prompt and item.prompt in prompts:
            ledger.drop("a prompt that was there before", item.row, item.prompt)
            continue
        elif drawn is not None and _number(comparison_id) not in drawn:
            ledger.drop(f"not among the {limit:,} drawn", item.row, item.prompt)
            continue
        elif len(kept) >= limit:
            ledger.drop(f"over the limit of {limit:,} comparisons", item.row, item.prompt)
            continue
        else:
            prompts.add(item.prompt)
            kept[comparison_id] = {
                "id": comparison_id,
                "prompt": item.prompt,
                "responses": responses,
                "sources": [answer.source for answer in answers],
                "category": item.category,
                "row": item.row,
                "order": shown_order(comparison_id, len(responses), seed),
            }
        for vote in item.votes:  # a comparison that comes again is judged again
            given.extend(_feedback(comparison_id, vote, places, len(item.answers)))
    ledger.kept = len(kept)
    content = ledger.as_dict()
    if not kept:
        reasons = "; ".join(f"{item['reason']}: {item['count']}" for item in content["dropped"])
        raise DataError(f"No comparison is left ({reasons}). Check which columns hold the prompt and the answers.")
    frame = pd.DataFrame(list(kept.values()), columns=COMPARISON_COLUMNS)
    return Comparisons(frame, content, pd.DataFrame(given, columns=FEEDBACK_COLUMNS))


def content_id(prompt: str, responses: Sequence[str]) -> str:
    """A name for a comparison that depends on nothing but its content: 20 hexadecimal digits of SHA-256."""
    content = json.dumps([prompt, *sorted(responses)], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", errors="surrogatepass")).hexdigest()[:20]


def shown_order(comparison_id: str, n: int, seed: int) -> list[int]:
    """The order in which annotators see the responses: ``order[place] = original index``."""
    order = list(range(n))
    random.Random(f"{seed}:{comparison_id}").shuffle(order)
    return order


def tokens_about(text: str) -> int:
    """About how many tokens a text has, without a tokenizer."""
    return math.ceil(len(text.encode("utf-8", "replace")) / TOKEN_BYTES)


def _candidates(items: Iterable[Item], selection: Selection, seed: int) -> Iterator[tuple[_Candidate, str]]:
    """What could become a comparison, and why it does not."""
    for item in items:
        if item.problem:
            yield _Candidate(item, ()), item.problem
            continue
        combinations, problem = _combinations(item, selection, seed)
        if problem:
            yield _Candidate(item, ()), problem
        for places in combinations:
            candidate = _Candidate(item, places)
            yield candidate, _problem(candidate, selection)


def _combinations(item: Item, selection: Selection, seed: int) -> tuple[list[tuple[int, ...]], str]:
    n = len(item.answers)
    if selection.pairing == "together":
        usable = [place for place, answer in enumerate(item.answers) if not answer.problem]
        seen: dict[str, int] = {}
        for place in usable:
            seen.setdefault(item.answers[place].text.strip(), place)
        different = list(seen.values())
        if len(different) < selection.together:
            return [], f"fewer than {selection.together} different answers"
        dice = random.Random(f"{seed}:{item.prompt}")
        return [tuple(sorted(dice.sample(different, selection.together)))], ""
    if n < 2:
        return [], "fewer than 2 answers"
    if n > MOST_ANSWERS:
        return [], f"more than {MOST_ANSWERS} answers to one prompt"
    pairs: list[tuple[int, ...]] = list(itertools.combinations(range(n), 2))
    if selection.pairing == "baseline":
        with_it = [pair for pair in pairs if selection.baseline in (item.answers[place].source for place in pair)]
        return with_it, "" if with_it else f"no answer of “{selection.baseline}”"
    if selection.pairing == "random":
        dice = random.Random(f"{seed}:{item.prompt}")
        usable_pairs = [pair for pair in pairs if not _problem(_Candidate(item, pair), selection)]
        return sorted(dice.sample(usable_pairs, min(selection.pairs_each, len(usable_pairs)))) or pairs[:1], ""
    return pairs, ""


def _problem(candidate: _Candidate, selection: Selection) -> str:
    answers = candidate.answers
    problems = [answer.problem for answer in answers if answer.problem]
    if problems:
        return "not text" if "not text" in problems else problems[0]
    if len({answer.text.strip() for answer in answers}) < len(answers):
        return "identical answers"
    if selection.longest:
        prompt = tokens_about(candidate.item.prompt)
        if any(prompt + tokens_about(answer.text) > selection.longest for answer in answers):
            return f"longer than {selection.longest:,} tokens"
    return ""


def _draw(items: Iterable[Item], selection: Selection, seed: int, on_progress: Callable[[int], None]) -> set[int]:
    """Which comparisons to keep: ``limit`` of them at random, from each category its share (largest remainders)."""
    numbers: dict[str, set[int]] = {}
    prompts: set[str] = set()
    for count, (candidate, reason) in enumerate(_candidates(items, selection, seed)):
        if count % 1000 == 0:
            on_progress(0)
        if reason or (selection.one_a_prompt and candidate.item.prompt in prompts):
            continue
        prompts.add(candidate.item.prompt)
        category = (candidate.item.category or "") if selection.stratified else ""
        found = content_id(candidate.item.prompt, [answer.text for answer in candidate.answers])
        numbers.setdefault(category, set()).add(_number(found))
    total = sum(map(len, numbers.values()))
    wanted = min(selection.limit, total)
    exact = {category: wanted * len(found) / total for category, found in numbers.items()}
    shares = Counter({category: int(share) for category, share in exact.items()})
    for category in sorted(exact, key=lambda name: (shares[name] - exact[name], name))[: wanted - shares.total()]:
        shares[category] += 1
    drawn: set[int] = set()
    for category, in_it in numbers.items():
        drawn.update(random.Random(f"{seed}:{category}").sample(sorted(in_it), shares[category]))
    return drawn


def _number(comparison_id: str) -> int:
    """Sixty-four bits of an id: a million of them fit into memory several times better than the ids themselves."""
    return int(comparison_id[:16], 16)


def _feedback(comparison_id: str, vote: Vote, places: Sequence[int], n: int) -> Iterator[dict[str, Any]]:
    """A vote on an item as feedback on the comparison of some of its answers; nothing where it says nothing on them."""
    given = {"id": comparison_id, "annotator": vote.annotator, "status": vote.status, "ranks": list[float | None]()}
    if vote.status != "submitted":
        yield given
        return
    ranks = [vote.ranks[place] for place in places]
    order = sorted({rank for rank in ranks if rank is not None})
    if order:
        yield given | {
            "ranks": [None if rank is None else order.index(rank) + 1.0 for rank in ranks],
            "strength": vote.strength,
            "position_chosen": vote.place if n == 2 else None,
            "certainty": vote.certainty,
            "ratings": [vote.ratings[place] for place in places] if vote.ratings else None,
        }
