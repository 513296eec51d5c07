"""A search engine for argilla-server that needs nothing beside the server's own SQLite database.

The stock server keeps a second copy of every record in Elasticsearch. Here each question is a query on
the tables themselves, so that what is searched can never differ from what is stored; words are found through
an index that the same transaction writes (`search_text`). Only the server's own interpreter imports this module.
The interface is ``argilla_server/search_engine/base.py``; the behaviour follows
``argilla_server/search_engine/commons.py`` (2.8.0).
"""

import asyncio
import hashlib
from collections.abc import Iterable
from uuid import UUID

import numpy as np
import search_filters
import search_text
from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import (
    MetadataPropertyType,
    SimilarityOrder,
    SortOrder,
)
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    column,
    func,
    literal_column,
    not_,
    or_,
    select,
    table,
    text,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession

NAME = "studio"
MOST_TERMS = 50_000  # of the vocabulary that a word~ is compared with
VECTORS_AT_ONCE = 2000  # rows of a similarity search in memory

TEXTS = table("studio_texts", column("id"), column("record_id", Record.id.type), column("field"), column("text"))
WORDS = table("studio_words", column("rowid"), column("studio_words"), column("rank"))


def _beginning(dataset: Dataset, user_id: str) -> UUID:
    """Where in the circle of record ids this user begins."""
    return UUID(hashlib.blake2b(f"{dataset.id} {user_id}".encode(), digest_size=16).hexdigest())


class _TextSearch:
    """A text query, made ready: which records it finds, and how well each fits."""

    def __init__(
        self,
        node: search_text.Node | None,
        field: str | None,
        spellings: dict[search_text.Words, list[str]],
    ) -> None:
        self.node = node
        self.field = field
        self.spellings = spellings

    @classmethod
    async def prepared(cls, db: AsyncSession, query: TextQuery | str) -> "_TextSearch":
        query = TextQuery(q=query) if isinstance(query, str) else query
        node = search_text.parse(query.q)
        spellings = {}
        for words, _ in search_text.leaves(node) if node else ():
            if words.edits:
                length = func.length(text("term"))
                around = length.between(len(words.text) - words.edits, len(words.text) + words.edits)
                query_terms = select(text("term")).select_from(text("studio_vocabulary")).where(around)
                terms = (await db.scalars(query_terms.limit(MOST_TERMS))).all()
                # Compared beside the loop that answers everybody: it may take a while.
                spellings[words] = await asyncio.to_thread(search_text.similar, words, terms)
        return cls(node, query.field, spellings)

    def condition(self) -> ColumnElement[bool]:
        return self._holds(self.node) if self.node else not_(true())

    def scores(self) -> Select | None:
        """Record ids and how well each fits: BM25 over the wanted words, higher is better. None: nothing to weigh."""
        wanted = [
            f"({search_text.expression(words, self.spellings.get(words, ()))})"
            for words, is_wanted in (search_text.leaves(self.node) if self.node else ())
            if is_wanted and not search_text.without_spaces(words)
        ]
        if not wanted:
            return None
        found = self._found(" OR ".join(wanted)).subquery()
        return select(found.c.record_id, func.sum(-found.c.rank).label("score")).group_by(found.c.record_id)

    def _holds(self, node: search_text.Node) -> ColumnElement[bool]:
        if isinstance(node, search_text.Not):
            return not_(self._holds(node.part))
        if isinstance(node, search_text.Words):
            return Record.id.in_(self._records(node))
        parts = [self._holds(part) for part in node.parts]
        return and_(*parts) if isinstance(node, search_text.Every) else or_(*parts)

    def _records(self, words: search_text.Words) -> Select:
        if search_text.without_spaces(words):
            parts = [TEXTS.c.text.contains(part, autoescape=True) for part in words.text.split()]
            return self._in_field(select(TEXTS.c.record_id).where(*parts))
        found = self._found(search_text.expression(words, self.spellings.get(words, ()))).subquery()
        return select(found.c.record_id)

    def _found(self, expression: str) -> Select:
        query = select(TEXTS.c.record_id, WORDS.c.rank).join_from(WORDS, TEXTS, TEXTS.c.id == WORDS.c.rowid)
        return self._in_field(query.where(WORDS.c.studio_words.op("MATCH")(expression)))

    def _in_field(self, query: Select) -> Select:
        return query.where(TEXTS.c.field == self.field) if self.field else query


@SearchEngine.register(NAME)
class StudioSearchEngine(SearchEngine):
    """Answers every search from the server's tables. There is no index: what writes to one does nothing."""

    @classmethod
    async def new_instance(cls) -> "StudioSearchEngine":
        return cls()

    async def close(self) -> None: ...

    async def ping(self) -> bool:
        return True

    async def info(self) -> dict:
        return {"name": "RM Studio search on SQLite"}

    async def create_index(self, dataset: Dataset) -> None: ...

    async def delete_index(self, dataset: Dataset) -> None: ...

    async def configure_metadata_property(self, dataset: Dataset, metadata_property: MetadataProperty) -> None: ...

    async def index_records(self, dataset: Dataset, records: Iterable[Record]) -> None: ...

    async def partial_record_update(self, record: Record, **update) -> None: ...

    async def delete_records(self, dataset: Dataset, records: Iterable[Record]) -> None: ...

    async def update_record_response(self, response: Response) -> None: ...

    async def delete_record_response(self, response: Response) -> None: ...

    async def update_record_suggestion(self, suggestion: Suggestion) -> None: ...

    async def delete_record_suggestion(self, suggestion: Suggestion) -> None: ...

    async def get_dataset_progress(self, dataset: Dataset) -> dict:
        query = select(Record.status, func.count()).where(Record.dataset_id == dataset.id).group_by(Record.status)
        return await self._counts(dataset, query)

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict:
        query = (
            select(Response.status, func.count())
            .join(Record, Record.id == Response.record_id)
            .where(Record.dataset_id == dataset.id, Response.user_id == user.id)
            .group_by(Response.status)
        )
        return await self._counts(dataset, query)

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: str | None = None,
    ) -> SearchResponses:
        """One page of records and how many there are in all.

        Without a sort, a text search begins with the best match. Otherwise each user walks the records in the circle
        of their ids, which are random, and begins at a place of their own: an order that is shuffled, stays the same
        however much is answered meanwhile, and keeps people apart who work at the same time.
        """
        async with AsyncSessionLocal() as db:
            where = [Record.dataset_id == dataset.id]
            scores = None
            if query is not None:
                words = await _TextSearch.prepared(db, query)
                where.append(words.condition())
                scores = words.scores()
            if filter is not None:
                where.append(search_filters.condition(filter))
            total = (await db.execute(select(func.count(Record.id)).where(*where))).scalar_one()
            if sort:
                order = []
                for item in sort:
                    value = search_filters.sort_value(item.scope)
                    order.append((value.desc() if item.order == SortOrder.desc else value.asc()).nulls_last())
                page = select(Record.id).where(*where).order_by(*order, literal_column("records.rowid"))
                ids = (await db.scalars(page.offset(offset).limit(limit))).all()
                return SearchResponses(items=[SearchResponseItem(record_id=id) for id in ids], total=total)
            if scores is not None:
                weighed = scores.subquery()
                page = (
                    select(Record.id, func.coalesce(weighed.c.score, 1.0))
                    .outerjoin(weighed, weighed.c.record_id == Record.id)
                    .where(*where)
                    .order_by(weighed.c.score.desc().nulls_last(), Record.id)
                )
                rows = (await db.execute(page.offset(offset).limit(limit))).all()
                items = [SearchResponseItem(record_id=id, score=score) for id, score in rows]
                return SearchResponses(items=items, total=total)
            if user_id:
                ids = await _from_own_beginning(db, where, _beginning(dataset, user_id), offset, limit)
            else:
                page = select(Record.id).where(*where).order_by(Record.inserted_at, literal_column("records.rowid"))
                ids = (await db.scalars(page.offset(offset).limit(limit))).all()
            return SearchResponses(items=[SearchResponseItem(record_id=id, score=1.0) for id in ids], total=total)

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        members = func.json_each(Record.metadata_, search_filters.json_path(metadata_property.name)).table_valued(
            "value"
        )
        source = (
            select(members.c.value.label("value"))
            .select_from(Record)
            .join(members, true())
            .where(Record.dataset_id == metadata_property.dataset_id)
            .subquery()
        )
        async with AsyncSessionLocal() as db:
            if metadata_property.type == MetadataPropertyType.terms:
                count = func.count().label("count")
                query = select(source.c.value, count).group_by(source.c.value).order_by(count.desc(), source.c.value)
                rows = (await db.execute(query)).all()
                terms = [TermsMetrics.TermCount(term=str(term), count=number) for term, number in rows]
                return TermsMetrics(total=sum(number for _, number in rows), values=terms)
            low, high = (await db.execute(select(func.min(source.c.value), func.max(source.c.value)))).one()
        if metadata_property.type == MetadataPropertyType.integer:
            return IntegerMetadataMetrics(min=low, max=high)
        return FloatMetadataMetrics(min=low, max=high)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record to compute the similarity search")
        target = value or record.vector_value_by_vector_settings(vector_settings)
        if not target:
            raise ValueError("Cannot find a vector value to apply with provided info")
        direction = np.array(target, dtype=np.float32) * (-1 if order == SimilarityOrder.least_similar else 1)
        best: list[tuple[float, UUID]] = []
        async with AsyncSessionLocal() as db:
            where = [Record.dataset_id == dataset.id, Vector.vector_settings_id == vector_settings.id]
            if record is not None:
                where.append(Record.id != record.id)
            if query is not None:
                where.append((await _TextSearch.prepared(db, query)).condition())
            if filter is not None:
                where.append(search_filters.condition(filter))
            rows = select(Record.id, Vector.value).join(Vector, Vector.record_id == Record.id).where(*where)
            stream = await db.stream(rows.execution_options(yield_per=VECTORS_AT_ONCE))
            async for part in stream.partitions():
                vectors = np.array([vector for _, vector in part], dtype=np.float32)
                norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(direction)
                # Elasticsearch's own scale for cosine similarity: (1 + cosine) / 2, from 0 to 1.
                scores = (1 + vectors @ direction / np.maximum(norms, 1e-12)) / 2
                found = [(float(score), id) for score, (id, _) in zip(scores, part, strict=True)]
                best = sorted(best + found, key=lambda item: -item[0])[:max_results]
        items = [
            SearchResponseItem(record_id=id, score=score)
            for score, id in best
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(items))

    @staticmethod
    async def _counts(dataset: Dataset, query) -> dict:
        if dataset.is_draft:
            return {}
        async with AsyncSessionLocal() as db:
            counts = {str(status.value): number for status, number in (await db.execute(query)).all()}
        return {"total": sum(counts.values()), **counts}


async def _from_own_beginning(
    db: AsyncSession, where: list[ColumnElement[bool]], beginning: UUID, offset: int, limit: int
) -> list[UUID]:
    """A page of the circle of ids that begins at ``beginning``: two walks along the index, no sorting."""
    first = [*where, Record.id >= beginning]
    page = select(Record.id).order_by(Record.id).limit(limit)
    ids = list(await db.scalars(page.where(*first).offset(offset)))
    if len(ids) < limit:
        passed = 0
        if not ids and offset:
            passed = (await db.execute(select(func.count(Record.id)).where(*first))).scalar_one()
        rest = page.where(*where, Record.id < beginning).offset(max(0, offset - passed) if not ids else 0)
        ids += list(await db.scalars(rest.limit(limit - len(ids))))
    return ids
