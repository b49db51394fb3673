"""Dashboards of one target and of one agent, whichever is picked."""

from indexer.dashboards.parts import (
    RESULTS,
    ROLLUPS,
    Chart,
    Dashboard,
    Documents,
    by,
    mean,
    percentiles,
    row,
    within,
)
from indexer.dashboards.usual import (
    BANDS,
    BY_AGENT,
    BY_ERROR,
    BY_ISP,
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
    TIME,
    counts,
    lines,
    table,
)

_TARGET_ROW = row("monitor.name", "target")
_AGENT_ROW = row("observer.name", "agent")
_SIGNAL = "swarming.link.signal"

TARGET = Dashboard(
    "target",
    "One target",
    "Pick a target: click it in the table, or search for `monitor.name:\"example.org\"`. The bands "
    "are percentiles of every single echo, not of averages. The long view is made of roll-ups, "
    "which stay when results are dropped.",
    "now-7d",
    (
        table(
            "targets", "Targets", (COUNT, ROUND_TRIP, NINTH, LOSS, LAST), _TARGET_ROW, query=PROBES
        ),
        table(
            "agents",
            "As each agent sees it",
            (COUNT, ROUND_TRIP, NINTH, JITTER, LOSS),
            _AGENT_ROW,
            query=PROBES,
        ),
        Chart("bands", "Echoes: percentiles", "line", RESULTS, (BANDS,), (TIME,), ECHOES, "ms"),
        Chart(
            "request-bands",
            "Requests: percentiles",
            "line",
            RESULTS,
            (percentiles("http.rtt.total.us", "request", 10, 25, 50, 75, 90),),
            (TIME,),
            REQUESTS,
            "time",
        ),
        Chart("loss", "Loss", "area", RESULTS, (LOSS,), (TIME,), ECHOES, "%"),
        lines("loss-agents", "Loss by agent", LOSS, BY_AGENT, ECHOES, "%"),
        lines("echoes-agents", "Echoes by agent", ROUND_TRIP, BY_AGENT, ECHOES, "ms"),
        lines("echoes-isps", "Echoes by provider", ROUND_TRIP, BY_ISP, ECHOES, "ms"),
        lines(
            "addresses", "Echoes by address", ROUND_TRIP, by("destination.ip", "address"), ECHOES,
            "ms",
        ),
        counts("errors", "Failed probes by error", BY_ERROR, FAILED),
        Chart(
            "months",
            "The long view: hourly percentiles, mean of all agents",
            "line",
            ROLLUPS,
            (
                mean("swarming.rtt_p10_ms", "10th percentile, ms"),
                mean("swarming.rtt_median_ms", "median, ms"),
                mean("swarming.rtt_p90_ms", "90th percentile, ms"),
            ),
            (TIME,),
            "swarming.step_s:3600 and (monitor.type:icmp or monitor.type:http)",
            "ms",
        ),
        Chart(
            "months-loss",
            "The long view: loss",
            "area",
            ROLLUPS,
            (LOSS,),
            (TIME,),
            "swarming.step_s:3600 and (monitor.type:icmp or monitor.type:http)",
            "%",
        ),
    ),
)  # fmt: skip

AGENT = Dashboard(
    "agent",
    "One agent",
    'Pick an agent: click it in the table, or search for `observer.name:"name"`. The ladder tells '
    "the home from the line: the gateway is the agent's own router, the first hop the provider's.",
    "now-7d",
    (
        table(
            "agents",
            "Agents",
            (COUNT, ROUND_TRIP, LOSS, LAST),
            _AGENT_ROW,
            within("swarming.link.type", "link", 3),
            query=PROBES,
        ),
        table(
            "targets",
            "Its targets",
            (COUNT, ROUND_TRIP, NINTH, LOSS, REQUEST),
            _TARGET_ROW,
            query=PROBES,
        ),
        Chart(
            "gateway",
            "Ladder: the own router",
            "line",
            RESULTS,
            (percentiles("swarming.gateway_rtt_ms", "echo, ms", 10, 50, 90),),
            (TIME,),
            LADDER,
            "ms",
        ),
        Chart(
            "first-hop",
            "Ladder: the first hop behind it",
            "line",
            RESULTS,
            (percentiles("swarming.first_hop_rtt_ms", "echo, ms", 10, 50, 90),),
            (TIME,),
            LADDER,
            "ms",
        ),
        lines("echoes", "Echoes by target", ROUND_TRIP, BY_TARGET, ECHOES, "ms"),
        lines("loss", "Loss by target", LOSS, BY_TARGET, ECHOES, "%"),
        counts("links", "What it sits on", BY_LINK),
        Chart(
            "signal",
            "Signal",
            "line",
            RESULTS,
            (
                mean(f"{_SIGNAL}.rsrp_dbm", "RSRP, dBm"),
                mean(f"{_SIGNAL}.rscp_dbm", "RSCP, dBm"),
                mean(f"{_SIGNAL}.rssi_dbm", "RSSI, dBm"),
                mean(f"{_SIGNAL}.signal_dbm", "Wi-Fi, dBm"),
            ),
            (TIME,),
            unit="dBm",
        ),
        Chart(
            "signal-quality",
            "Quality of the signal",
            "line",
            RESULTS,
            (
                mean(f"{_SIGNAL}.sinr_db", "SINR, dB"),
                mean(f"{_SIGNAL}.snr_db", "SNR, dB"),
                mean(f"{_SIGNAL}.rsrq_db", "RSRQ, dB"),
            ),
            (TIME,),
            unit="dB",
        ),
        counts("errors", "Failed probes by error", BY_ERROR, FAILED),
        Documents(
            "failures",
            "Its last failed probes",
            RESULTS,
            (
                *("observer.name", "monitor.name", "monitor.type", "error.type"),
                *("swarming.loss_pct", "swarming.link.type"),
            ),
            FAILED,
        ),
    ),
)
