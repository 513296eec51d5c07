"""Filters and sorts of a search, as conditions on the server's own tables.

Only the server's own interpreter imports this module. The behaviour follows the queries that
``argilla_server/search_engine/commons.py`` (2.8.0) makes for Elasticsearch.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argilla_server.enums import RecordStatus, ResponseStatus, ResponseStatusFilter
from argilla_server.models import Question, Record, Response, Suggestion, User
from argilla_server.search_engine import (
    AndFilter,
    Filter,
    FilterScope,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)
from sqlalchemy import ColumnElement, Select, and_, cast, exists, false, func, or_, select, true
from sqlalchemy import Text as SqlText


def json_path(name: str) -> str:
    """A SQLite JSON path to one key, whatever characters the key has."""
    return '$."' + name.replace('"', '\\"') + '"'


def _number(value: str | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _matches(value: ColumnElement, condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    """A terms filter holds when the value is one of them; a range filter, when it lies within (both ends count)."""
    if isinstance(condition, TermsFilter):
        # Every term is asked for as text, also where a number is stored: 2 is 2, and 2.0 is.
        terms = [str(term) for term in condition.values]
        numbers = [number for term in terms if (number := _number(term)) is not None]
        return or_(cast(value, SqlText).in_(terms), value.in_(numbers)) if numbers else cast(value, SqlText).in_(terms)
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


def _record_condition(condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    value = getattr(Record, condition.scope.property)
    if isinstance(condition, TermsFilter):
        # Compared as the column stores it, so that an index answers.
        known = {"id": UUID, "status": RecordStatus, "external_id": str}.get(condition.scope.property)
        if known is None:
            return _matches(value, condition)
        return value.in_([term for text in condition.values if (term := _read(known, str(text))) is not None])
    ends = [condition.ge, condition.le]
    if condition.scope.property.endswith("_at"):
        ends = [None if end is None else _read(_moment, end) for end in ends]
        if ends == [None, None]:  # no date at all: nothing lies within it
            return false()
    return _matches(value, RangeFilter(condition.scope, *ends))


def _moment(value: str | float) -> datetime:
    """A date as Elasticsearch takes one, ISO 8601 or milliseconds since 1970, as the database keeps it: UTC."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)


def _read(kind: Callable[[Any], Any], value: Any) -> Any:
    """``value`` as this kind of thing, or None where it is none."""
    try:
        return kind(value)
    except (ValueError, OverflowError, OSError):
        return None


def _answered(user: User | None, *more: ColumnElement[bool]) -> Select:
    """The ids of the records that this user, or anyone, has answered."""
    query = select(Response.record_id).where(*more)
    return query.where(Response.user_id == user.id) if user else query


def _response_condition(condition: TermsFilter | RangeFilter) -> ColumnElement[bool]:
    scope = condition.scope
    if scope.question:
        value = _any_of_json(Response.values, json_path(scope.question) + ".value", condition)
        return Record.id.in_(_answered(scope.user, value))

    # "pending" is the absence of a response: of this user's, or of anyone's.
    statuses = [ResponseStatus(status) for status in condition.values if status != ResponseStatusFilter.pending]
    alternatives = []
    if len(statuses) < len(condition.values):
        alternatives.append(Record.id.not_in(_answered(scope.user)))
    if statuses:
        alternatives.append(Record.id.in_(_answered(scope.user, Response.status.in_(statuses))))
    return or_(*alternatives) if alternatives else true()


def _suggestion_value(scope: SuggestionFilterScope) -> tuple[ColumnElement, list[ColumnElement[bool]]]:
    joined = [
        Suggestion.record_id == Record.id,
        Suggestion.question_id == Question.id,
        Question.name == scope.question,
        Question.dataset_id == Record.dataset_id,
    ]
    return getattr(Suggestion, scope.property), joined


def condition(filter: Filter) -> ColumnElement[bool]:
    """What of a record must hold for the filter to let it through."""
    if isinstance(filter, AndFilter):
        return and_(true(), *(condition(part) for part in filter.filters))
    scope = filter.scope
    if isinstance(scope, ResponseFilterScope):
        return _response_condition(filter)
    if isinstance(scope, MetadataFilterScope):
        return _any_of_json(Record.metadata_, json_path(scope.metadata_property), filter)
    if isinstance(scope, SuggestionFilterScope):
        value, joined = _suggestion_value(scope)
        matches = _any_of_json(value, "$", filter) if scope.property in ("value", "score") else _matches(value, filter)
        return exists(select(true()).select_from(Suggestion, Question).where(*joined, matches))
    if isinstance(scope, RecordFilterScope):
        return _record_condition(filter)
    raise ValueError(f"unknown filter scope {scope}")


def sort_value(scope: FilterScope) -> ColumnElement:
    """What records are ordered by; a record without a value comes last, whichever way."""
    if isinstance(scope, MetadataFilterScope):
        return func.json_extract(Record.metadata_, json_path(scope.metadata_property))
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
    if scope.question:  # several people's ratings: their mean
        value = func.avg(func.json_extract(Response.values, json_path(scope.question) + ".value"))
    else:
        value = func.min(Response.status)
    return select(value).where(*responses).correlate(Record).scalar_subquery()
