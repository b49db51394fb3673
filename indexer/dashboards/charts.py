"""A chart as the `visState` of an aggregation-based visualization, the same for both tools. Pure.

Both took this form from Kibana 7. Top-level parameters that are left out get the tool's defaults,
nested ones do not: so axes and series are whole.
"""

from typing import Any

from indexer.dashboards.parts import Chart, Metric, Split

_XY = ("line", "area", "histogram", "horizontal_bar")
_VALUES = "ValueAxis-1"


def vis_state(chart: Chart, title: str) -> dict[str, Any]:
    aggs = [_metric(str(number), one) for number, one in enumerate(chart.metrics, 1)]
    first = len(aggs) + 1
    aggs += [_split(str(number), chart, one) for number, one in enumerate(chart.splits, first)]
    return {"title": title, "type": chart.type, "aggs": aggs, "params": _params(chart)}


def markdown_state(markdown: str, title: str) -> dict[str, Any]:
    params = {"markdown": markdown, "fontSize": 12, "openLinksInNewTab": False}
    return {"title": title, "type": "markdown", "aggs": [], "params": params}


# --- aggregations -------------------------------------------------------------------------------


def _metric(number: str, metric: Metric) -> dict[str, Any]:
    params: dict[str, Any] = {"field": metric.field} if metric.field else {}
    if metric.percents:
        params["percents"] = list(metric.percents)
    if metric.kind == "median":
        params["percents"] = [50]
    if metric.label:
        params["customLabel"] = metric.label
    return _agg(number, metric.kind, "metric", params)


def _split(number: str, chart: Chart, split: Split) -> dict[str, Any]:
    params = {"field": split.field} | _PARAMS_OF[split.kind](number, split)
    if split.label:
        params["customLabel"] = split.label
    return _agg(number, split.kind, _schema(chart, split), params)


def _agg(number: str, kind: str, schema: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "enabled": True, "type": kind, "schema": schema, "params": params}


def _schema(chart: Chart, split: Split) -> str:
    if chart.type == "table":
        return "bucket"
    return "segment" if split.x else "group"


def _time(_: str, split: Split) -> dict[str, Any]:
    return {
        "interval": "auto",
        "drop_partials": False,
        "min_doc_count": 1,
        "extended_bounds": {},
        "scaleMetricValues": False,
    }


def _numbers(_: str, split: Split) -> dict[str, Any]:
    return {
        "interval": split.width,
        "min_doc_count": False,
        "has_extended_bounds": False,
        "extended_bounds": {"min": "", "max": ""},
    }


def _terms(number: str, split: Split) -> dict[str, Any]:
    params: dict[str, Any] = {
        "size": split.size,
        "otherBucket": False,
        "otherBucketLabel": "Other",
        "missingBucket": split.missing,
        "missingBucketLabel": "–",
    }
    if split.order == "alphabet":
        return params | {"orderBy": "_key", "order": "asc"}
    # The order of a number that is not shown has an aggregation of its own. Not by a median: what
    # is sent for that is refused by the engine.
    order = _agg(f"{number}-orderAgg", "count", "orderAgg", {})
    return params | {"orderBy": "custom", "orderAgg": order, "order": "desc"}


_PARAMS_OF = {"date_histogram": _time, "histogram": _numbers, "terms": _terms}


# --- how it is drawn ----------------------------------------------------------------------------


def _params(chart: Chart) -> dict[str, Any]:
    if chart.type in _XY:
        return _xy(chart)
    return {"table": _table, "metric": _big_numbers, "heatmap": _heatmap}[chart.type](chart)


def _xy(chart: Chart) -> dict[str, Any]:
    flat = chart.type == "horizontal_bar"
    return {
        "type": "histogram" if flat else chart.type,
        "grid": {"categoryLines": False},
        "categoryAxes": [_axis("CategoryAxis-1", "category", "left" if flat else "bottom")],
        "valueAxes": [_value_axis(chart, "bottom" if flat else "left")],
        "seriesParams": [
            _series(chart, str(number), one) for number, one in enumerate(chart.metrics, 1)
        ],
        "addTooltip": True,
        "detailedTooltip": True,
        "palette": {"type": "palette", "name": "default"},
        "addLegend": True,
        "legendPosition": "right",
        "truncateLegend": True,
        "maxLegendLines": 1,
        "fittingFunction": "none",  # where nothing was measured there is no line
        "times": [],
        "addTimeMarker": False,
        "radiusRatio": 9,
        "labels": {"show": False},
        "thresholdLine": {
            "show": False,
            "value": 10,
            "width": 1,
            "style": "full",
            "color": "#E7664C",
        },
    }


def _axis(name: str, kind: str, position: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": kind,
        "position": position,
        "show": True,
        "style": {},
        "scale": {"type": "linear"},
        "labels": {"show": True, "filter": position == "bottom", "truncate": 100, "rotate": 0},
        "title": {},
    }


def _value_axis(chart: Chart, position: str) -> dict[str, Any]:
    axis = _axis(_VALUES, "value", position)
    name = "BottomAxis-1" if position == "bottom" else "LeftAxis-1"
    scale = {"type": "linear", "mode": "normal", "defaultYExtents": False, "setYExtents": False}
    return axis | {"name": name, "scale": scale, "title": {"text": chart.unit}}


def _series(chart: Chart, number: str, metric: Metric) -> dict[str, Any]:
    return {
        "show": True,
        "type": "histogram" if chart.type == "horizontal_bar" else chart.type,
        "mode": "stacked" if chart.stacked else "normal",
        "data": {"id": number, "label": metric.label},
        "valueAxis": _VALUES,
        "drawLinesBetweenPoints": True,
        "lineWidth": 2,
        "interpolate": "linear",
        "showCircles": True,
        "circlesRadius": 1,
    }


def _table(_: Chart) -> dict[str, Any]:
    return {
        "perPage": 10,
        "showPartialRows": False,
        "showMetricsAtAllLevels": False,
        "showTotal": False,
        "showToolbar": True,
        "totalFunc": "sum",
        "percentageCol": "",
    }


def _big_numbers(_: Chart) -> dict[str, Any]:
    style = {"bgFill": "#000", "bgColor": False, "labelColor": False, "subText": "", "fontSize": 36}
    return {
        "type": "metric",
        "addTooltip": True,
        "addLegend": False,
        "metric": {
            "percentageMode": False,
            "useRanges": False,
            "colorSchema": "Green to Red",
            "metricColorMode": "None",
            "colorsRange": [{"from": 0, "to": 10000}],
            "labels": {"show": True},
            "invertColors": False,
            "style": style,
        },
    }


def _heatmap(_: Chart) -> dict[str, Any]:
    labels = {"show": False, "rotate": 0, "overwriteColor": False, "color": "black"}
    scale = {"type": "linear", "defaultYExtents": False}
    ranges = [(0, 0.5), (0.5, 2), (2, 5), (5, 20), (20, 101)]
    return {
        "type": "heatmap",
        "addTooltip": True,
        "addLegend": True,
        "enableHover": False,
        "legendPosition": "right",
        "times": [],
        "colorsNumber": len(ranges),
        "colorSchema": "Reds",
        "setColorRange": True,
        "colorsRange": [{"from": low, "to": high} for low, high in ranges],
        "invertColors": False,
        "percentageMode": False,
        "valueAxes": [
            {"show": False, "id": _VALUES, "type": "value", "scale": scale, "labels": labels}
        ],
    }
