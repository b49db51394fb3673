"""What a description of dashboards is made of. Pure data, the same for both tools."""

from typing import NamedTuple

from indexer.elastic import fields
from indexer.elastic.fields import Field

COLUMNS = 48  # of a dashboard, in both tools


class View(NamedTuple):
    """Indices to search in: a data view in Kibana, an index pattern in OpenSearch Dashboards.

    Without a time the dashboard's time range does not apply: every document is shown.
    """

    name: str
    indices: tuple[str, ...]  # behind the prefix
    time: str | None
    fields: tuple[Field, ...]
    says: str


RESULTS = View("results", ("results-*",), "@timestamp", fields.RESULT, "one document a result")
STORED = View(
    "stored",
    ("results-*", "unsynced"),
    "event.ingested",
    fields.RESULT,
    "every result by when it was stored, those of a wrong clock too",
)
ROLLUPS = View(
    "rollups", ("rollups-*",), "@timestamp", fields.ROLLUP, "summaries, kept when results are gone"
)
VERDICTS = View(
    "verdicts", ("verdicts",), "@timestamp", fields.VERDICT, "every change of a verdict"
)
AGENTS = View("agents", ("agents",), None, fields.AGENT, "one document an agent, as it is now")
VIEWS = (RESULTS, STORED, ROLLUPS, VERDICTS, AGENTS)


class Metric(NamedTuple):
    """A number of the documents of a bucket; `count` has no field."""

    kind: str
    field: str = ""
    label: str = ""
    percents: tuple[int, ...] = ()


class Split(NamedTuple):
    """Buckets. `x`: along the axis; otherwise series, or rows of a table.

    Terms are in the order of the "alphabet", or the "busiest" first: those of most documents. A
    document without the field is in no bucket, or with `missing` in one of its own.
    """

    kind: str
    field: str
    label: str = ""
    x: bool = False
    size: int = 0
    order: str = ""
    width: float = 0  # of a bucket of numbers
    missing: bool = False


class Chart(NamedTuple):
    """One visualization: line, area, histogram, horizontal_bar, table, metric or heatmap."""

    name: str
    title: str
    type: str
    view: View
    metrics: tuple[Metric, ...]
    splits: tuple[Split, ...] = ()
    query: str = ""
    unit: str = ""  # of the axis of values
    stacked: bool = False
    width: int = 24
    height: int = 12


class Documents(NamedTuple):
    """The documents themselves, newest first."""

    name: str
    title: str
    view: View
    columns: tuple[str, ...]
    query: str = ""
    width: int = COLUMNS
    height: int = 14


Panel = Chart | Documents


class Dashboard(NamedTuple):
    """`says`, in Markdown, stands above the panels beside links to the other dashboards."""

    name: str
    title: str
    says: str
    since: str  # how far back it looks when it is opened
    panels: tuple[Panel, ...]


def count(label: str) -> Metric:
    return Metric("count", label=label)


def mean(field: str, label: str) -> Metric:
    return Metric("avg", field, label)


def median(field: str, label: str) -> Metric:
    return Metric("median", field, label)


def largest(field: str, label: str) -> Metric:
    return Metric("max", field, label)


def total(field: str, label: str) -> Metric:
    return Metric("sum", field, label)


def distinct(field: str, label: str) -> Metric:
    return Metric("cardinality", field, label)


def percentiles(field: str, label: str, *percents: int) -> Metric:
    return Metric("percentiles", field, label, percents)


def over_time(field: str = "@timestamp") -> Split:
    return Split("date_histogram", field, "time", x=True)


def by(field: str, label: str, size: int = 10, *, x: bool = False, order: str = "busiest") -> Split:
    return Split("terms", field, label, x, size, order)


def row(field: str, label: str, size: int = 200) -> Split:
    """A row of a table for each term, in the order of the alphabet."""
    return by(field, label, size, order="alphabet")


def within(field: str, label: str, size: int = 200) -> Split:
    """Rows of a row; what has no such term has a row as well."""
    return row(field, label, size)._replace(missing=True)


def every(field: str, label: str, width: float) -> Split:
    return Split("histogram", field, label, x=True, width=width)
