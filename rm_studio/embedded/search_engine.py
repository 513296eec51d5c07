"""A search engine for argilla-server that needs nothing beside the server's own SQLite database.

The stock server keeps a second copy of every record in Elasticsearch. Here each question is a query on
the tables themselves, so that what is searched can never differ from what is stored. Only the server's
own interpreter imports this module. The interface is ``argilla_server/search_engine/base.py``; the
behaviour follows ``argilla_server/search_engine/commons.py`` (2.8.0).
"""

import re
from collections.abc import Iterable
from uuid import UUID

import numpy as np
from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import (
    MetadataPropertyType,
    ResponseStatus,
    ResponseStatusFilter,
    SimilarityOrder,
    SortOrder,
)
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Question,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine import (
    AndFilter,
    Filter,
    FilterScope,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    MetadataMetrics,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TermsMetrics,
    TextQuery,
)
from sqlalchemy import ColumnElement, and_, cast, exists, func, literal_column, not_, or_, select, true
from sqlalchemy import Text as SqlText

NAME = "studio"


def _json_path(name: str) -> str:
    """A SQLite JSON path to one key, whatever characters the key has."""
    return '$."' + name.replace('"', '\\"') + '"'


def _matches(value: ColumnElement, condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    """A terms filter holds when the value is one of them; a range filter, when it lies within (both ends count)."""
    if isinstance(condition, TermsFilter):
        # A rating is stored as a number and asked for as text: both sides are compared as text.
        return cast(value, SqlText).in_([str(term) for term in condition.values])
    bounds = [value.is_not(None)]
    if condition.ge is not None:
        bounds.append(value >= condition.ge)
    if condition.le is not None:
        bounds.append(value <= condition.le)
    return and_(*bounds)


def _any_of_json(document: ColumnElement, path: str, condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    """True when the value at ``path``, or any member of it where it is a list, matches."""
    members = func.json_each(document, path).table_valued("value")
    return exists(select(true()).select_from(members).where(_matches(members.c.value, condition)))


def _words(query: str) -> list[str]:
    """The words and quoted phrases of a query; all of them must be found."""
    found = re.findall(r'"([^"]+)"|(\S+)', query)
    return [phrase or word.strip('"') for phrase, word in found if (phrase or word).strip('"')]


def _text_condition(dataset: Dataset, query: TextQuery | str) -> ColumnElement[bool]:
    query = TextQuery(q=query) if isinstance(query, str) else query
    names = [query.field] if query.field else [field.name for field in dataset.fields if not field.is_image]
    conditions = []
    for word in _words(query.q):
        fields = [
            cast(func.json_extract(Record.fields, _json_path(name)), SqlText).icontains(word, autoescape=True)
            for name in names
        ]
        conditions.append(or_(*fields))
    return and_(true(), *conditions)


def _response_condition(condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    scope = condition.scope
    responses = [Response.record_id == Record.id]
    if scope.user:
        responses.append(Response.user_id == scope.user.id)

    if scope.question:
        return exists(
            select(true())
            .select_from(Response)
            .where(*responses, _any_of_json(Response.values, _json_path(scope.question) + ".value", condition))
        )

    # "pending" is the absence of a response: of this user's, or of anyone's.
    statuses = [status for status in condition.values if status != ResponseStatusFilter.pending]
    alternatives = []
    if len(statuses) < len(condition.values):
        alternatives.append(not_(exists(select(true()).select_from(Response).where(*responses))))
    if statuses:
        wanted = Response.status.in_([ResponseStatus(status) for status in statuses])
        alternatives.append(exists(select(true()).select_from(Response).where(*responses, wanted)))
    return or_(*alternatives) if alternatives else true()


def _suggestion_value(scope: SuggestionFilterScope) -> tuple[ColumnElement, list[ColumnElement[bool]]]:
    joined = [
        Suggestion.record_id == Record.id,
        Suggestion.question_id == Question.id,
        Question.name == scope.question,
        Question.dataset_id == Record.dataset_id,
    ]
    return getattr(Suggestion, scope.property), joined


def _condition(filter: Filter) -> ColumnElement[bool]:
    if isinstance(filter, AndFilter):
        return and_(true(), *(_condition(part) for part in filter.filters))
    scope = filter.scope
    if isinstance(scope, ResponseFilterScope):
        return _response_condition(filter)
    if isinstance(scope, MetadataFilterScope):
        return _any_of_json(Record.metadata_, _json_path(scope.metadata_property), filter)
    if isinstance(scope, SuggestionFilterScope):
        value, joined = _suggestion_value(scope)
        if scope.property in ("value", "score"):
            return exists(
                select(true()).select_from(Suggestion, Question).where(*joined, _any_of_json(value, "$", filter))
            )
        return exists(select(true()).select_from(Suggestion, Question).where(*joined, _matches(value, filter)))
    if isinstance(scope, RecordFilterScope):
        return _matches(getattr(Record, scope.property), filter)
    raise ValueError(f"unknown filter scope {scope}")


def _sort_value(scope: FilterScope) -> ColumnElement:
    if isinstance(scope, MetadataFilterScope):
        return func.json_extract(Record.metadata_, _json_path(scope.metadata_property))
    if isinstance(scope, RecordFilterScope):
        return getattr(Record, scope.property)
    if isinstance(scope, SuggestionFilterScope):
        value, joined = _suggestion_value(scope)
        if scope.property in ("value", "score"):
            value = func.json_extract(value, "$")
        return select(func.min(value)).where(*joined).correlate(Record).scalar_subquery()
    responses = [Response.record_id == Record.id]
    if scope.user:
        responses.append(Response.user_id == scope.user.id)
    value = (
        func.json_extract(Response.values, _json_path(scope.question) + ".value") if scope.question else Response.status
    )
    return select(func.min(value)).where(*responses).correlate(Record).scalar_subquery()


def _shuffled_for(user_id: str) -> ColumnElement:
    """An order of its own for each user, the same at every call: a multiplicative hash of the row's number."""
    factor = UUID(str(user_id)).int % 2_147_483_629 | 1
    return (literal_column("records.rowid") * factor) % 2_147_483_647


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
        where = self._where(dataset, query, filter)
        order: list[ColumnElement] = []
        for item in sort or []:
            value = _sort_value(item.scope)
            order.append((value.desc() if item.order == SortOrder.desc else value.asc()).nulls_last())
        if not order and user_id:
            order.append(_shuffled_for(user_id))
        order.append(literal_column("records.rowid"))
        async with AsyncSessionLocal() as db:
            total = (await db.execute(select(func.count()).select_from(Record).where(*where))).scalar_one()
            page = select(Record.id).where(*where).order_by(*order).offset(offset).limit(limit)
            ids = (await db.execute(page)).scalars().all()
        return SearchResponses(items=[SearchResponseItem(record_id=id, score=1.0) for id in ids], total=total)

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        members = func.json_each(Record.metadata_, _json_path(metadata_property.name)).table_valued("value")
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
        where = [*self._where(dataset, query, filter), Vector.vector_settings_id == vector_settings.id]
        if record is not None:
            where.append(Record.id != record.id)
        async with AsyncSessionLocal() as db:
            rows = (
                await db.execute(
                    select(Record.id, Vector.value).join(Vector, Vector.record_id == Record.id).where(*where)
                )
            ).all()
        if not rows:
            return SearchResponses(items=[], total=0)
        vectors = np.array([vector for _, vector in rows], dtype=np.float32)
        direction = np.array(target, dtype=np.float32) * (-1 if order == SimilarityOrder.least_similar else 1)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(direction)
        # Elasticsearch's own scale for cosine similarity: (1 + cosine) / 2, from 0 to 1.
        scores = (1 + vectors @ direction / np.maximum(norms, 1e-12)) / 2
        best = list(np.argsort(-scores, kind="stable")[:max_results])
        items = [SearchResponseItem(record_id=rows[index][0], score=float(scores[index])) for index in best]
        if threshold is not None:
            items = [item for item in items if item.score >= threshold]
        return SearchResponses(items=items, total=len(items))

    @staticmethod
    def _where(dataset: Dataset, query: TextQuery | str | None, filter: Filter | None) -> list[ColumnElement[bool]]:
        where = [Record.dataset_id == dataset.id]
        if query is not None:
            where.append(_text_condition(dataset, query))
        if filter is not None:
            where.append(_condition(filter))
        return where

    @staticmethod
    async def _counts(dataset: Dataset, query) -> dict:
        if dataset.is_draft:
            return {}
        async with AsyncSessionLocal() as db:
            counts = {str(status.value): number for status, number in (await db.execute(query)).all()}
        return {"total": sum(counts.values()), **counts}
