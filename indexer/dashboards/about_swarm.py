"""Dashboards of the whole swarm: overview, and link types compared."""

from indexer.dashboards import parts
from indexer.dashboards.parts import (
    COLUMNS,
    RESULTS,
    Chart,
    Dashboard,
    Documents,
    by,
    distinct,
    every,
    percentiles,
    row,
    within,
)
from indexer.dashboards.usual import (
    BY_AGENT,
    BY_ERROR,
    BY_LINK,
    BY_TARGET,
    COUNT,
    ECHOES,
    FAILED,
    JITTER,
    LADDER,
    LAST,
    LOSS,
    NINTH,
    PROBES,
    REQUEST,
    REQUESTS,
    ROUND_TRIP,
    bars,
    counts,
    heat,
    lines,
    table,
)

_TARGET_ROW = row("monitor.name", "target")
_AGENT_ROW = row("observer.name", "agent")
_SIGNAL = "swarming.link.signal"

OVERVIEW = Dashboard(
    "overview",
    "Overview",
    "Who measures, what, and where it goes wrong. A click on a name in a table or a chart filters "
    "everything by it; **one target** and **one agent** say more of what was picked.",
    "now-24h",
    (
        Chart(
            "totals",
            "In this time",
            "metric",
            RESULTS,
            (
                COUNT,
                distinct("observer.name", "agents"),
                distinct("monitor.name", "targets"),
                ROUND_TRIP,
                LOSS,
            ),
            query=PROBES,
            width=COLUMNS,
            height=7,
        ),
        lines("echoes", "Echoes by target", ROUND_TRIP, BY_TARGET, ECHOES, "ms"),
        lines("requests", "Requests by target", REQUEST, BY_TARGET, REQUESTS, "time"),
        heat("loss-targets", "Loss by target, %", LOSS, BY_TARGET._replace(size=30), ECHOES),
        heat("loss-agents", "Loss by agent, %", LOSS, BY_AGENT._replace(size=30), ECHOES),
        table(
            "targets",
            "Targets",
            (COUNT, ROUND_TRIP, NINTH, LOSS, REQUEST, LAST),
            _TARGET_ROW,
            query=PROBES,
        ),
        table("agents", "Agents", (COUNT, ROUND_TRIP, NINTH, LOSS, LAST), _AGENT_ROW, query=PROBES),
        counts("kinds", "Results by kind", by("monitor.type", "kind"), width=16),
        counts("errors", "Failed probes by error", BY_ERROR, FAILED, width=16),
        counts("error-targets", "Failed probes by target", BY_TARGET, FAILED, width=16),
        Documents(
            "here",
            "Who is here, and who was",
            parts.AGENTS,
            (
                *("observer.name", "swarming.here", "observer.geo.name", "as.organization.name"),
                *("swarming.link.type", "swarming.clock", "swarming.version", "@timestamp"),
            ),
        ),
    ),
)

LINK_TYPES = Dashboard(
    "links",
    "Link types compared",
    "The same targets over every kind of link. A link is what the agent itself sits on: an agent "
    "on Wi-Fi says nothing of the line behind its router, the first hop does.",
    "now-30d",
    (
        table(
            "links",
            "Link types",
            (COUNT, distinct("observer.name", "agents"), ROUND_TRIP, NINTH, JITTER, LOSS),
            row("swarming.link.type", "link"),
            query=ECHOES,
            width=COLUMNS,
            height=12,
        ),
        bars(
            "percentiles",
            "Echoes: percentiles",
            (percentiles("swarming.rtt_ms", "echo, ms", 10, 50, 90),),
            BY_LINK,
            ECHOES,
            "ms",
        ),
        bars("jitter", "Jitter and loss", (JITTER, LOSS), BY_LINK, ECHOES, "ms, %"),
        lines("echoes", "Echoes over time", ROUND_TRIP, BY_LINK, ECHOES, "ms"),
        lines("loss", "Loss over time", LOSS, BY_LINK, ECHOES, "%"),
        bars(
            "first-hop",
            "Up to the first hop: percentiles",
            (percentiles("swarming.first_hop_rtt_ms", "echo, ms", 10, 50, 90),),
            BY_LINK,
            LADDER,
            "ms",
        ),
        bars("requests", "Requests: median", (REQUEST,), BY_LINK, REQUESTS, "time"),
        Chart(
            "strength",
            "LTE and 5G: echoes by strength of the signal, dBm",
            "line",
            RESULTS,
            (ROUND_TRIP,),
            (every(f"{_SIGNAL}.rsrp_dbm", "RSRP, dBm", 5),),
            ECHOES,
            "ms",
        ),
        Chart(
            "wifi-strength",
            "Wi-Fi: echoes by strength of the signal, dBm",
            "line",
            RESULTS,
            (ROUND_TRIP,),
            (every(f"{_SIGNAL}.signal_dbm", "signal, dBm", 5),),
            ECHOES,
            "ms",
        ),
        table(
            "generations",
            "Generations of mobile links",
            (COUNT, ROUND_TRIP, JITTER, LOSS),
            row("swarming.link.type", "link"),
            row("swarming.link.generation", "generation"),
            query=ECHOES,
        ),
        table(
            "isps",
            "Providers",
            (COUNT, ROUND_TRIP, JITTER, LOSS),
            row("as.organization.name", "provider"),
            within("swarming.link.type", "link"),
            query=ECHOES,
        ),
    ),
)
