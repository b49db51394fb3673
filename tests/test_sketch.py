"""The sketch: any percentile within 1 %, and merging that loses nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.sketch import ACCURACY, SMALLEST, Sketch

rtts = st.floats(min_value=SMALLEST, max_value=60_000, allow_nan=False)
quick = settings(max_examples=60, deadline=None)


def sketch(values: list[float]) -> Sketch:
    made = Sketch()
    made.extend(values)
    return made


@quick
@given(st.lists(rtts, min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_every_quantile_is_within_one_percent_of_the_exact_one(values: list[float], q: float):
    exact = sorted(values)[int(q * (len(values) - 1))]
    found = sketch(values).quantile(q)
    assert found is not None
    assert abs(found - exact) <= exact * ACCURACY * (1 + 1e-9)


@quick
@given(st.lists(st.lists(rtts, max_size=40), max_size=8), st.randoms())
def test_merged_parts_are_the_sketch_of_all_values_whatever_the_order(parts, rng):
    whole = sketch([value for part in parts for value in part])
    rng.shuffle(parts)
    merged = Sketch()
    for part in parts:
        merged.merge(sketch(part))
    assert merged == whole


@quick
@given(st.lists(rtts, max_size=300), st.integers(min_value=1, max_value=10**11))
def test_a_sketch_comes_back_from_its_bytes(values: list[float], times: int):
    made = sketch(values)
    for bucket in made.counts:
        made.counts[bucket] *= times
    assert Sketch.from_bytes(made.to_bytes()) == made


def test_an_hour_of_echoes_is_small():
    values = [30 + (i * 37 % 100) / 10 for i in range(140)]
    assert len(sketch(values).to_bytes()) < 64


def test_an_empty_sketch_knows_no_percentile():
    assert Sketch().quantiles(0.1, 0.5) == [None, None]
    assert Sketch().quantile(0.5) is None


def test_zero_and_the_absurd_count_without_harm():
    made = sketch([0.0, 1e12])
    assert made.count == 2
    low, high = made.quantiles(0.0, 1.0)
    assert low is not None and high is not None
    assert 0 < low < 0.0011 and 0.9e9 < high < 1.1e9


def test_bytes_that_end_in_the_middle_are_refused():
    packed = sketch([1.0] * 300).to_bytes()
    for broken in (packed[:-1], packed[:1], b"\x03" + packed[1:], b"\0\0"):
        try:
            Sketch.from_bytes(broken)
        except ValueError:
            continue
        raise AssertionError(f"{broken!r} was read")
