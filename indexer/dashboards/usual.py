"""Queries, numbers and buckets that several dashboards share."""

from indexer.dashboards.parts import (
    RESULTS,
    Chart,
    Metric,
    Split,
    by,
    count,
    largest,
    mean,
    median,
    over_time,
    percentiles,
)

ECHOES = "monitor.type:icmp"
REQUESTS = "monitor.type:http"
PROBES = "monitor.type:icmp or monitor.type:http"
LADDER = "monitor.type:ladder"
FAILED = "event.outcome:failure"

TIME = over_time()
BY_TARGET = by("monitor.name", "target")
BY_AGENT = by("observer.name", "agent")
BY_ISP = by("as.organization.name", "provider")
BY_LINK = by("swarming.link.type", "link")
BY_ERROR = by("error.type", "error")

COUNT = count("probes")
ROUND_TRIP = median("swarming.rtt_ms", "median echo, ms")
NINTH = percentiles("swarming.rtt_ms", "echo, ms", 90)
BANDS = percentiles("swarming.rtt_ms", "echo, ms", 10, 25, 50, 75, 90)
LOSS = mean("swarming.loss_pct", "echoes lost, %")
JITTER = median("swarming.jitter_ms", "median jitter, ms")
REQUEST = median("http.rtt.total.us", "median request")
LAST = largest("@timestamp", "last one")


def lines(
    name: str, title: str, metric: Metric, split: Split, query: str, unit: str, width: int = 24
) -> Chart:
    """A number over time, a line for each term."""
    return Chart(name, title, "line", RESULTS, (metric,), (TIME, split), query, unit, width=width)


def counts(name: str, title: str, split: Split, query: str = "", width: int = 24) -> Chart:
    """How many documents over time, stacked by term."""
    splits = (TIME, split)
    return Chart(
        name, title, "histogram", RESULTS, (COUNT,), splits, query, stacked=True, width=width
    )


def bars(
    name: str, title: str, metrics: tuple[Metric, ...], split: Split, query: str, unit: str
) -> Chart:
    """A bar for each term and number."""
    splits = (split._replace(x=True),)
    return Chart(name, title, "horizontal_bar", RESULTS, metrics, splits, query, unit)


def heat(name: str, title: str, metric: Metric, split: Split, query: str) -> Chart:
    """How dark a number is, over time and by term."""
    return Chart(name, title, "heatmap", RESULTS, (metric,), (TIME, split), query)


def table(
    name: str,
    title: str,
    metrics: tuple[Metric, ...],
    *splits: Split,
    query: str = "",
    width: int = 24,
    height: int = 14,
) -> Chart:
    """A row for each term of the first split, and of the next ones within it."""
    return Chart(name, title, "table", RESULTS, metrics, splits, query, width=width, height=height)
