"""Dashboards of one matter each: HTTP phases, clocks and journals, verdicts."""

from indexer.dashboards import parts
from indexer.dashboards.parts import (
    COLUMNS,
    RESULTS,
    STORED,
    VERDICTS,
    Chart,
    Dashboard,
    Documents,
    Metric,
    by,
    count,
    largest,
    mean,
    median,
    over_time,
    percentiles,
    row,
    total,
    within,
)
from indexer.dashboards.usual import (
    BY_AGENT,
    BY_ERROR,
    BY_TARGET,
    COUNT,
    REQUEST,
    REQUESTS,
    TIME,
    counts,
    lines,
    table,
)

_PHASES = (
    mean("resolve.rtt.us", "name look-up"),
    mean("tcp.rtt.connect.us", "TCP"),
    mean("tls.rtt.handshake.us", "TLS"),
    mean("http.rtt.response_header.us", "first byte"),
    mean("http.rtt.content.us", "transfer"),
)
_FAILED_REQUEST = "monitor.type:http and event.outcome:failure"
_INGESTED = over_time("event.ingested")

HTTP = Dashboard(
    "http",
    "HTTP phases",
    "Where a request spends its time. Name look-up, TCP and TLS are the way and the machines at "
    "its ends; the first byte is mostly the service; transfer is the line. Means stack up to the "
    "mean of the whole request; the median stands beside them.",
    "now-7d",
    (
        Chart(
            "phases",
            "Phases, mean",
            "area",
            RESULTS,
            _PHASES,
            (TIME,),
            REQUESTS,
            "time",
            stacked=True,
            width=COLUMNS,
        ),
        Chart(
            "phases-targets",
            "Phases by target, mean",
            "horizontal_bar",
            RESULTS,
            _PHASES,
            (BY_TARGET._replace(x=True),),
            REQUESTS,
            "time",
            stacked=True,
        ),
        Chart(
            "phases-agents",
            "Phases by agent, mean",
            "horizontal_bar",
            RESULTS,
            _PHASES,
            (BY_AGENT._replace(x=True, size=20),),
            REQUESTS,
            "time",
            stacked=True,
        ),
        lines("requests", "Whole request by target", REQUEST, BY_TARGET, REQUESTS, "time"),
        lines(
            "first-byte",
            "First byte by target",
            median("http.rtt.response_header.us", "median first byte"),
            BY_TARGET,
            REQUESTS,
            "time",
        ),
        counts("status", "Status codes", by("http.response.status_code", "status"), REQUESTS),
        counts("errors", "Failed requests by error", BY_ERROR, _FAILED_REQUEST),
        table(
            "targets",
            "Targets",
            (
                COUNT,
                REQUEST,
                percentiles("http.rtt.total.us", "request", 90),
                mean("http.response.body.bytes", "bytes read"),
                total("swarming.retrans", "segments sent again"),
            ),
            row("monitor.name", "target"),
            query=REQUESTS,
        ),
        table(
            "certificates",
            "Certificates, by their end",
            (Metric("min", "tls.server.not_after", "first end seen"), COUNT),
            row("monitor.name", "target"),
            within("tls.version", "TLS"),
            query="tls.server.not_after:*",
        ),
    ),
)

HEALTH = Dashboard(
    "health",
    "Clocks and journals",
    "Whether what is shown elsewhere can be trusted. Results of a clock that is known to be wrong "
    "are counted here alone, by when they were stored. Two counts that differ show a backlog: "
    "measured then, stored later. A journal that evicts lost results, and says how many.",
    "now-24h",
    (
        Chart(
            "clocks",
            "Results by trust in the clock, when stored",
            "histogram",
            STORED,
            (COUNT,),
            (_INGESTED, by("swarming.clock", "clock")),
            stacked=True,
        ),
        Chart(
            "clock-age",
            "Oldest setting of a clock, s",
            "line",
            RESULTS,
            (largest("swarming.clock_age_s", "s since it was set"),),
            (TIME, BY_AGENT),
            unit="s",
        ),
        Chart("measured", "Results by when measured", "histogram", RESULTS, (COUNT,), (TIME,)),
        Chart("stored", "Results by when stored", "histogram", STORED, (COUNT,), (_INGESTED,)),
        Chart(
            "journals",
            "Journals, as the agents last told",
            "table",
            parts.AGENTS,
            (
                largest("swarming.journal.waiting", "waiting"),
                largest("swarming.journal.evicted", "evicted"),
                largest("swarming.journal.lost", "told as lost"),
                largest("@timestamp", "heard of"),
            ),
            (row("observer.name", "agent"), within("swarming.clock", "clock")),
            height=14,
        ),
        Chart(
            "agents",
            "Results by agent and clock, when stored",
            "table",
            STORED,
            (
                COUNT,
                largest("swarming.clock_age_s", "s since it was set"),
                largest("event.ingested", "last stored"),
            ),
            (row("observer.name", "agent"), within("swarming.clock", "clock")),
            height=14,
        ),
        Chart(
            "lost",
            "Results that full journals lost",
            "histogram",
            RESULTS,
            (total("swarming.lost", "lost results"),),
            (TIME, BY_AGENT),
            "monitor.type:lost",
            stacked=True,
        ),
        Chart(
            "future",
            "Results that claim to be from the future",
            "histogram",
            STORED,
            (count("results"),),
            (_INGESTED, BY_AGENT),
            "swarming.future:true",
            stacked=True,
        ),
    ),
)

_WORDS = by("swarming.verdict.word", "verdict")

VERDICT = Dashboard(
    "verdicts",
    "Verdicts",
    "Who was it: me, my ISP, the path or the service? One document each time the answer for a "
    "target became another one.",
    "now-30d",
    (
        Chart(
            "words",
            "Verdicts by word",
            "histogram",
            VERDICTS,
            (count("verdicts"),),
            (TIME, _WORDS),
            stacked=True,
        ),
        Chart(
            "targets",
            "Verdicts by target",
            "horizontal_bar",
            VERDICTS,
            (count("verdicts"),),
            (BY_TARGET._replace(x=True, size=20), _WORDS),
            "swarming.verdict.state:bad",
            stacked=True,
        ),
        Chart(
            "table",
            "Targets",
            "table",
            VERDICTS,
            (count("verdicts"), largest("@timestamp", "last change")),
            (
                row("monitor.name", "target"),
                within("swarming.verdict.state", "state"),
                within("swarming.verdict.word", "verdict"),
            ),
            width=COLUMNS,
        ),
        Documents(
            "last",
            "The last verdicts",
            VERDICTS,
            (
                *("monitor.name", "swarming.verdict.state", "swarming.verdict.word"),
                *("swarming.verdict.scope", "swarming.verdict.sentence"),
            ),
        ),
    ),
)
