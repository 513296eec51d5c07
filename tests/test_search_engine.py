"""The search engine behaves as argilla-server's own on Elasticsearch does.

The cases follow argilla-server 2.8.0's ``tests/unit/search_engine/test_commons.py``, asked here of a really running
server through its API. What those tests say of Elasticsearch's own mappings has no counterpart: there is no index to
map. Beyond them: the query language, and that words and records agree after a kill.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest
from argilla_api import Api, Dataset, between, metadata, record, response, suggestion, terms

from rm_studio.embedded import server
from rm_studio.workspace import Workspace

TEXTS = [
    ("The bank took two fees for one card payment abroad", "negative"),
    ("Somebody told me that the card payment I made was stopped", "neutral"),
    ("My card would not work for a payment at the till", "negative"),
    ("At the till no payment with my credit card was possible", "negative"),
    ("Today a payment for the house went through well", "positive"),
    ("Has my payment for the credit card bill arrived yet", "neutral"),
    ("Why does taking out cash cost money", "neutral"),
    ("Why does taking out cash cost money", "neutral"),
    ("The cash that I put into my account a week ago is missing", "negative"),
]
FLOATS = [0.13, 0.343, 1.123, 12.13, -120.13, -149.13, 200.13, 20020.13, 120020.13]


@pytest.fixture(scope="module")
def api(argilla: Workspace) -> Iterator[Api]:
    with closing(Api.of(argilla)) as found:
        yield found


@pytest.fixture
def bank(api: Api) -> Dataset:
    """Nine messages to a bank, with a label field, and metadata of the three kinds."""
    dataset = api.dataset(
        fields={"number": "text", "text": "text", "label": "text"},
        metadata={"label": "terms", "number": "integer", "float": "float"},
    )
    dataset.ids = dataset.add(  # type: ignore[attr-defined]
        *(
            {
                "fields": {"number": f"{place:05}", "text": text, "label": label},
                "metadata": {"number": place, "float": number, **({"label": label} if place else {})},
            }
            for place, ((text, label), number) in enumerate(zip(TEXTS, FLOATS, strict=True))
        )
    )
    return dataset


def ids(found: Any) -> list[str]:
    return [item["record"]["id"] for item in found["items"]]


@pytest.mark.parametrize(
    ("query", "field", "count"),
    [
        ("card", None, 5),
        ("CARD", None, 5),
        ("account", None, 1),
        ("payment", None, 6),
        ("cash", None, 3),
        ("negative", None, 4),
        ("00000", None, 1),
        ("card payment", None, 5),
        ("nothing", None, 0),
        ("cash | negative", None, 6),
        ("cash + negative", None, 1),
        ("-(cash | negative)", None, 3),
        ("missing negative", None, 1),  # words found in two different fields
        ("negative", "label", 4),
        ("00000", "number", 1),
        ("card payment", "text", 5),
        ("cash | negative", "text", 3),
        ("cash + negative", "text", 0),
        ("-(cash | negative)", "text", 6),
        ("payment -card", None, 1),
        ('"card payment"', None, 2),
        ('"payment card"', None, 0),
        ('"payment card"~3', None, 4),
        ("pay*", None, 6),
        ("pay", None, 0),
        ("paymint~1", None, 6),
        ("paymint", None, 0),
        (r"\-card", None, 5),  # an escaped sign is no operator
        ("card !!! payment", None, 5),
        ('card "payment', None, 5),  # never closed
        ("(card payment", None, 5),
        ("", None, 0),
        ("!!!", None, 0),
        ("card AND payment", None, 0),  # AND is a word in this language
    ],
)
def test_words_and_the_query_language(bank: Dataset, query: str, field: str | None, count: int) -> None:
    found = bank.search(query, field)
    assert len(found["items"]) == found["total"] == count
    assert all(item["query_score"] > 0 for item in found["items"])


@pytest.mark.parametrize(
    "query",
    [
        "(" * 5000,
        "-" * 999,
        '"' * 999,
        "a | " * 3000,
        "x~99999 y*~2",
        "\\",
        "'; DROP TABLE records; --",
        "\x00",
        " ".join(f"a{number} | b{number}" for number in range(300)),
        " ".join(f"w{number}~2" for number in range(200)),
    ],
)
def test_no_query_is_an_error(bank: Dataset, query: str) -> None:
    assert bank.search(query)["total"] >= 0
    assert bank.total() == 9


def test_chat_custom_and_image_fields(api: Api) -> None:
    dataset = api.dataset(fields={"chat": "chat", "custom": "custom", "image": "image"})
    chat = [{"role": "user", "content": "Hello wide world"}, {"role": "bot", "content": "Hi"}]
    fields = {"chat": chat, "custom": {"a": "This is a vålue", "b": 100}, "image": "https://picture.example/sunset"}
    dataset.add({"fields": fields}, {"fields": {**fields, "custom": None, "image": None}})
    assert dataset.total("world", "chat") == 2
    assert dataset.total("vålue", "custom") == 1
    assert dataset.total("100", "custom") == 1
    assert dataset.total("sunset") == 0, "images are not indexed"
    assert dataset.total() == 2


def test_scripts_without_spaces_are_found_within_a_sentence(api: Api) -> None:
    dataset = api.dataset()
    dataset.add(
        {"fields": {"text": "我喜欢养猫和狗"}}, {"fields": {"text": "Straße — ёлка"}}, {"fields": {"text": "cafe"}}
    )
    assert dataset.total("猫") == 1
    assert dataset.total("喜欢 -猫") == 0
    assert dataset.total('"我喜欢 养猫"') == 1
    assert dataset.total("STRASSE") == 0 and dataset.total("straße ЁЛКА") == 1
    assert dataset.total("café") == 0, "accents count, as for Elasticsearch's standard analyzer"


def test_the_best_match_comes_first(api: Api) -> None:
    dataset = api.dataset()
    weak, strong = dataset.add(
        {"fields": {"text": f"tea {'and other words ' * 20}"}}, {"fields": {"text": "tea tea tea"}}
    )
    dataset.add(*({"fields": {"text": f"coffee {number}"}} for number in range(20)))
    found = dataset.search("tea")
    assert ids(found) == [strong, weak]
    assert found["items"][0]["query_score"] > found["items"][1]["query_score"] > 0
    assert {item["query_score"] for item in dataset.search()["items"]} == {1.0}


def answer_some(bank: Dataset, user: Api) -> None:
    """Two submitted with 2 and 4, two drafts with 2, one discarded; four left."""
    first, second, third, fourth, fifth, *_ = bank.ids  # type: ignore[attr-defined]
    bank.answer(user, first, "submitted", 2)
    bank.answer(user, second, "submitted", 4)
    bank.answer(user, third, "draft", 2)
    bank.answer(user, fourth, "draft", 2)
    bank.answer(user, fifth, "discarded")


@pytest.mark.parametrize(
    ("statuses", "count"),
    [
        (["pending"], 4),
        (["draft"], 2),
        (["submitted"], 2),
        (["discarded"], 1),
        (["pending", "draft"], 6),
        (["submitted", "discarded"], 3),
        (["pending", "draft", "discarded"], 7),
    ],
)
def test_response_status_of_one_person_and_of_anybody(bank: Dataset, statuses: list[str], count: int) -> None:
    somebody, newcomer = bank.api.person(), bank.api.person()
    answer_some(bank, somebody)
    by_status = terms(response(property="status"), *statuses)
    assert bank.total(None, None, by_status, user=somebody) == count
    assert bank.total(None, None, by_status) == count, "without a user, anybody's counts"
    assert bank.total(None, None, by_status, user=newcomer) == (9 if "pending" in statuses else 0)
    with_words = bank.search("payment", None, by_status)
    scores = {item["record"]["id"]: item["query_score"] for item in bank.search("payment")["items"]}
    assert all(item["query_score"] == scores[item["record"]["id"]] for item in with_words["items"])


def test_response_values_of_one_person_and_of_anybody(bank: Dataset) -> None:
    somebody, another = bank.api.person(), bank.api.person()
    answer_some(bank, somebody)
    bank.answer(another, bank.ids[0], "submitted", 4)  # type: ignore[attr-defined]
    rating = response(question="rating")
    assert bank.total(None, None, terms(rating, "2")) == 3
    assert bank.total(None, None, terms(rating, "4")) == 2
    assert bank.total(None, None, terms(rating, "2", "4")) == 4
    assert bank.total(None, None, terms(rating, "4"), user=somebody) == 1
    assert bank.total(None, None, between(rating, ge=3), user=another) == 1
    assert bank.total(None, None, between(rating, ge=1, le=3)) == 3


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([terms(metadata("label"), "neutral")], 4),
        ([terms(metadata("label"), "positive")], 1),
        ([terms(metadata("label"), "neutral", "positive")], 5),
        ([between(metadata("number"), 3, 4)], 2),
        ([between(metadata("number"), 3, 3)], 1),
        ([between(metadata("number"), ge=3)], 6),
        ([between(metadata("number"), le=4)], 5),
        ([between(metadata("float"), 0, 12.03)], 3),
        ([between(metadata("float"), 0.13, 0.13)], 1),
        ([between(metadata("float"), ge=0.0)], 7),
        ([between(metadata("float"), le=12.03)], 5),
        ([terms(metadata("label"), "negative"), between(metadata("number"), 3, 4)], 1),
    ],
)
def test_metadata(bank: Dataset, filters: list[dict[str, Any]], count: int) -> None:
    assert bank.total(None, None, *filters) == count


def test_metadata_that_is_a_list_matches_by_any_member(api: Api) -> None:
    dataset = api.dataset(metadata={"tags": "terms"})
    dataset.add(
        {"fields": {"text": "a"}, "metadata": {"tags": ["red", 'it\'s "odd"']}},
        {"fields": {"text": "b"}, "metadata": {"tags": "red"}},
    )
    assert dataset.total(None, None, terms(metadata("tags"), "red")) == 2
    assert dataset.total(None, None, terms(metadata("tags"), 'it\'s "odd"')) == 1


@pytest.mark.parametrize(
    ("property", "match", "other"),
    [("value", "A", "C"), ("score", "0.5", "0"), ("agent", "peter", "john"), ("type", "human", "model")],
)
def test_suggestions(api: Api, property: str, match: str, other: str) -> None:
    label = {"type": "label_selection", "options": [{"value": value, "text": value} for value in "AB"]}
    dataset = api.dataset(questions={"label": label})
    first, second = dataset.add({"fields": {"text": "one"}}, {"fields": {"text": "two"}})
    question = api("GET", f"datasets/{dataset.id}/questions")["items"][0]["id"]
    made = {"question_id": question, "value": "A", "type": "human", "agent": "peter", "score": 0.5}
    api("PUT", f"records/{first}/suggestions", made)
    api("PUT", f"records/{second}/suggestions", {"question_id": question, "value": "B"})
    scope = suggestion("label", property)
    assert ids(dataset.search(None, None, terms(scope, match))) == [first]
    assert dataset.total(None, None, terms(scope, other)) == 0
    if property == "score":
        assert ids(dataset.search(None, None, between(scope, 0.4, 0.6))) == [first]
    by_property = [{"scope": scope, "order": "asc"}]
    assert ids(dataset.search(sort=by_property))[0] == first, "what has no value comes last"


def test_record_properties(bank: Dataset) -> None:
    some = bank.ids[:2]  # type: ignore[attr-defined]
    somebody = bank.api.person()
    answer_some(bank, somebody)
    assert sorted(ids(bank.search(None, None, terms(record("id"), *some)))) == sorted(some)
    assert bank.total(None, None, terms(record("status"), "completed")) == 2
    assert bank.total(None, None, terms(record("status"), "pending")) == 7
    assert bank.total(None, None, between(record("inserted_at"), ge="2020-01-01T00:00:00")) == 9
    assert bank.total(None, None, between(record("inserted_at"), le="2020-01-01T00:00:00")) == 0
    assert bank.total(None, None, between(record("inserted_at"), ge=1_577_836_800_000)) == 9, "milliseconds"
    assert bank.total(None, None, between(record("inserted_at"), ge="no date")) == 0
    assert bank.total(None, None, terms(record("id"), "no id")) == 0


@pytest.mark.parametrize("property", ["inserted_at", "updated_at", "id", "status"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_sorting_by_record_properties(bank: Dataset, property: str, order: str) -> None:
    found = bank.search(sort=[{"scope": record(property), "order": order}])
    values = [item["record"][property] for item in found["items"]]
    assert values == sorted(values, reverse=order == "desc")
    assert len(values) == 9


def test_sorting_by_metadata_responses_and_several(bank: Dataset) -> None:
    somebody = bank.api.person()
    answer_some(bank, somebody)
    by_float = bank.search(sort=[{"scope": metadata("float"), "order": "desc"}])
    assert [item["record"]["metadata"]["float"] for item in by_float["items"]] == sorted(FLOATS, reverse=True)
    by_label = [{"scope": metadata("label"), "order": "asc"}, {"scope": metadata("number"), "order": "desc"}]
    numbers = [item["record"]["metadata"]["number"] for item in bank.search(sort=by_label)["items"]]
    assert numbers == [8, 3, 2, 7, 6, 5, 1, 4, 0], "labels rising, numbers falling, without a label last"
    by_rating = bank.search(user=somebody, sort=[{"scope": response(question="rating"), "order": "desc"}])
    assert ids(by_rating)[0] == bank.ids[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("offset", "limit"), [(0, 50), (10, 5), (90, 100), (100, 10)])
def test_pages_and_totals(api: Api, offset: int, limit: int) -> None:
    dataset = api.dataset()
    dataset.add(*({"fields": {"text": "The same text for all"}} for _ in range(100)))
    for query in ("same", None):
        every = ids(dataset.search(query, limit=100))
        page = dataset.search(query, offset=offset, limit=limit)
        assert page["total"] == 100
        assert ids(page) == every[offset : offset + limit]


def test_each_person_has_an_order_of_their_own_that_stays(api: Api) -> None:
    dataset = api.dataset(min_submitted=3)
    dataset.add(*({"fields": {"text": f"text {number}"}} for number in range(60)))
    one, other = api.person(), api.person()
    orders = [ids(dataset.search(user=user, limit=100)) for user in (one, other, one)]
    assert orders[0] == orders[2]
    firsts = {ids(dataset.search(user=api.person(), limit=1))[0] for _ in range(5)}
    assert len({orders[0][0], orders[1][0], *firsts}) > 1, "any two begin at the same of sixty now and then"
    assert sorted(orders[0]) == sorted(orders[1])
    inserted = ids(dataset.search(sort=[{"scope": record("inserted_at"), "order": "asc"}], limit=100))
    assert {orders[0][0], orders[1][0], *firsts} != {inserted[0]}
    pages = [record for start in range(0, 60, 7) for record in ids(dataset.search(user=one, offset=start, limit=7))]
    assert pages == orders[0], "pages go round the circle without a gap or a repeat"
    pending = terms(response(property="status"), "pending")
    dataset.answer(one, orders[0][0], "submitted", 1)
    assert ids(dataset.search(None, None, pending, user=one, limit=100)) == orders[0][1:]
    assert ids(dataset.search(user=other, limit=100)) == orders[1], "what others do does not change it"


def test_progress_of_the_team_and_of_one_person(bank: Dataset) -> None:
    somebody = bank.api.person()
    mine = f"me/datasets/{bank.id}/metrics"
    empty = somebody("GET", mine)["responses"]
    assert (empty["submitted"], empty["pending"]) == (0, 9)
    answer_some(bank, somebody)
    answered = somebody("GET", mine)["responses"]
    assert answered == {"total": 9, "submitted": 2, "discarded": 1, "draft": 2, "pending": 4}
    team = bank.api("GET", f"datasets/{bank.id}/progress")
    assert (team["total"], team["completed"], team["pending"]) == (9, 2, 7)


def test_metadata_metrics(bank: Dataset) -> None:
    properties = bank.api("GET", f"me/datasets/{bank.id}/metadata-properties")["items"]
    metrics = {item["name"]: bank.api("GET", f"metadata-properties/{item['id']}/metrics") for item in properties}
    counts = [("neutral", 4), ("negative", 3), ("positive", 1)]
    assert metrics["label"] == {
        "type": "terms",
        "total": 8,
        "values": [{"term": term, "count": count} for term, count in counts],
    }
    assert metrics["number"] == {"type": "integer", "min": 0, "max": 8}
    assert metrics["float"] == {"type": "float", "min": min(FLOATS), "max": max(FLOATS)}


def test_metadata_metrics_without_values(api: Api) -> None:
    dataset = api.dataset(metadata={"terms": "terms", "integer": "integer", "float": "float"})
    for item in api("GET", f"me/datasets/{dataset.id}/metadata-properties")["items"]:
        found = api("GET", f"metadata-properties/{item['id']}/metrics")
        assert found == {"type": "terms", "total": 0, "values": []} or (found["min"], found["max"]) == (None, None)


@pytest.fixture
def arrows(api: Api) -> Dataset:
    """Eight records whose vectors point round a circle, 45 degrees apart."""
    dataset = api.dataset(vectors={"arrow": 2})
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    dataset.ids = dataset.add(  # type: ignore[attr-defined]
        *(
            {"fields": {"text": f"arrow {'east' if x > 0 else 'else'}"}, "vectors": {"arrow": [float(x), float(y)]}}
            for x, y in directions
        )
    )
    return dataset


def test_similar_records(arrows: Dataset) -> None:
    all_ids = arrows.ids  # type: ignore[attr-defined]
    like_value = arrows.search(vector={"name": "arrow", "value": [2.0, 0.1]}, limit=3)
    assert ids(like_value) == [all_ids[0], all_ids[1], all_ids[7]]
    assert like_value["items"][0]["query_score"] == pytest.approx(1.0, abs=0.01)
    unlike = arrows.search(vector={"name": "arrow", "value": [2.0, 0.0], "order": "least_similar"}, limit=1)
    assert ids(unlike) == [all_ids[4]]
    like_record = ids(arrows.search(vector={"name": "arrow", "record_id": all_ids[0]}, limit=2))
    assert sorted(like_record) == sorted([all_ids[1], all_ids[7]]), "not the record itself"
    east = ids(arrows.search("east", vector={"name": "arrow", "value": [-1.0, 0.1]}, limit=50))
    assert east == [all_ids[1], all_ids[7], all_ids[0]]
    assert arrows.search("nothing like it", vector={"name": "arrow", "value": [1.0, 0.0]})["total"] == 0
    somebody = arrows.api.person()
    arrows.answer(somebody, all_ids[1], "submitted", 5)
    submitted = terms(response(property="status"), "submitted")
    vector = {"name": "arrow", "record_id": all_ids[0]}
    assert ids(arrows.search(None, None, submitted, user=somebody, vector=vector)) == [all_ids[1]]
    assert ids(arrows.search(None, None, terms(response(question="rating"), "5"), vector=vector)) == [all_ids[1]]


def test_what_changes_is_found_as_it_now_is(bank: Dataset) -> None:
    changed, gone, *_ = bank.ids  # type: ignore[attr-defined]
    fields = {"number": "1", "text": "A lighthouse keeper", "label": "negative"}
    bank.api("PATCH", f"records/{changed}", {"fields": fields})
    bank.api("DELETE", f"records/{gone}")
    assert ids(bank.search("lighthouse")) == [changed]
    assert (bank.total("abroad"), bank.total("stopped"), bank.total()) == (0, 0, 8)
    bank.api("DELETE", f"datasets/{bank.id}")


def test_after_a_kill_words_and_records_agree(argilla: Workspace, api: Api) -> None:
    dataset = api.dataset()
    dataset.add(*({"fields": {"text": f"steady {number}"}} for number in range(300)))
    process = psutil.Process(server.status(argilla).pid)
    process.kill()
    process.wait()
    server.start(argilla)
    with closing(Api.of(argilla)) as reached:
        again = Dataset(reached, dataset.id)
        assert again.total("steady") == again.total() == 300
    with closing(sqlite3.connect(argilla.argilla_folder / "argilla.db")) as database:
        indexed, stored = (
            set(database.execute(query).fetchall())
            for query in ("SELECT DISTINCT record_id FROM studio_texts", "SELECT id FROM records")
        )
        assert indexed == stored
        database.execute("INSERT INTO studio_words (studio_words) VALUES ('integrity-check')")


def test_an_index_that_cannot_be_vouched_for_is_made_anew(argilla: Workspace, api: Api) -> None:
    dataset = api.dataset()
    (found,) = dataset.add({"fields": {"text": "a walrus"}})
    server.stop(argilla)
    with closing(sqlite3.connect(argilla.argilla_folder / "argilla.db")) as database, database:
        # As a migration does that makes the table anew: the triggers go, and somebody writes without them.
        database.execute("DROP TRIGGER studio_records_update")
        database.execute("UPDATE records SET fields = ? WHERE id = ?", ['{"text": "an ibex"}', found.replace("-", "")])
    server.start(argilla)
    with closing(Api.of(argilla)) as reached:
        again = Dataset(reached, dataset.id)
        assert (again.total("walrus"), again.total("ibex")) == (0, 1)
