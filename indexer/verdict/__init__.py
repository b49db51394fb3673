"""The answer: me, my ISP, the path, or the service. Pure: results and agents in, words out."""

from indexer.verdict.answers import (
    Answer,
    Evidence,
    Headline,
    Pair,
    Station,
    as_json,
    headline_json,
    pair_json,
    text,
)
from indexer.verdict.baseline import Baselines
from indexer.verdict.headline import headline
from indexer.verdict.judge import judge, judge_all, pair, what_to_look
from indexer.verdict.picture import HORIZON_MS, Picture, learn

__all__ = [
    "HORIZON_MS",
    "Answer",
    "Baselines",
    "Evidence",
    "Headline",
    "Pair",
    "Picture",
    "Station",
    "as_json",
    "headline",
    "headline_json",
    "judge",
    "judge_all",
    "learn",
    "pair",
    "pair_json",
    "text",
    "what_to_look",
]
