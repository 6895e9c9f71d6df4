"""Trained and standard codecs on one axis: real bytes, nearest points, BD-rate only where it is defined."""

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from test_figures import a_summary, all_points, drawn

from uoisc.base.errors import ResultsError
from uoisc.base.results import COLUMNS, read_table
from uoisc.base.settings import JUDGES
from uoisc.report import tables
from uoisc.report.rate_answer import (
    ANCHOR,
    TRAINED,
    bd_rate,
    bd_rates,
    curve_points,
    front,
    nearest,
    write_bd_rates,
)


def test_a_message_costs_its_payload_and_the_compact_header():
    table = all_points()
    own = table[(table["codec"] == "adaptive") & (table["setting"] == 426)]
    payload = 8 * np.ceil((426 - 24) / 8) / 8  # of the cheapest tables
    assert len(own) and (own["bytes"] == payload + 4).all() and (own["bytes_less_flat"] == payload).all()
    summary = a_summary()
    row = summary.query("variant == 'adaptive' and bits == 426 and metric == 'amr_reliable'")
    assert sorted(row["value"]) == sorted(own[own["metric"] == "amr_reliable"]["value"])
    assert set(table[table["form"] == "message"]["codec"]) == set(TRAINED)
    assert list(table.columns) == COLUMNS["standard_codecs.csv"]


def test_a_codec_without_a_payload_is_named():
    costs = synthetic.entropy()
    with pytest.raises(ResultsError, match="entropy.csv lacks query_aware at 432 bits"):
        curve_points(a_summary(), costs[costs["variant"] + costs["bits"].astype(str) != "query_aware432.0"],
               synthetic.standard_codecs(60))  # fmt: skip


def test_the_nearest_points_are_those_of_a_search():
    table = all_points()
    found = nearest(table)
    assert found["bytes"].is_monotonic_increasing
    assert len(found[found["form"] == "message"]) == 3 + 3 + 5 + 2 + 2
    targets = found[found["codec"] == "uoisc"]["bytes"]
    curve = table[(table["codec"] == "jpeg") & (table["form"] == "mosaic") & (table["split"] == "unseen")]
    sizes = curve["bytes"].unique()
    expected = {min(sizes, key=lambda size: max(size / target, target / size)) for target in targets}
    ours = found[(found["codec"] == "jpeg") & (found["form"] == "mosaic")]
    assert set(ours["bytes"]) == expected and len(ours) == len(expected)


def test_the_front_holds_what_no_cheaper_point_reaches():
    rng = np.random.default_rng(0)
    curve = pd.DataFrame({"bytes": rng.permutation(20) + 1.0, "value": rng.integers(0, 8, 20) / 8})
    kept = [row for row in curve.itertuples() if not any(
        other.bytes < row.bytes and other.value >= row.value for other in curve.itertuples())]  # fmt: skip
    assert sorted((row.bytes, row.value) for row in kept) == list(map(tuple, front(curve)))


def with_curve(codec: str, factor: float, lift: float = 0.0, keep: int = 6) -> pd.DataFrame:
    """All points, and AVIF's files again under another name: `factor` the bytes, each metric higher by `lift`."""
    table = all_points()
    anchor = table[(table["codec"] == ANCHOR) & (table["form"] == "file") & (table["setting"] < 10 * keep)]
    moved = anchor.assign(codec=codec, bytes=anchor["bytes"] * factor, value=anchor["value"] + lift)
    return pd.concat([table, moved], ignore_index=True)


def test_half_the_bytes_is_minus_fifty_percent_over_the_shared_range():
    table = with_curve("half", 0.5)
    found = bd_rates(table)
    half = found[found["codec"] == "half"]
    assert len(half) == 2 * 3 and half["bd_rate"].to_numpy() == pytest.approx(-50)
    reached = table[(table["codec"] == "half") & (table["metric"] == "psnr") & (table["split"] == "seen")]["value"]
    row = half[(half["metric"] == "psnr") & (half["split"] == "seen")].iloc[0]
    assert (row["low"], row["high"]) == (reached.min(), reached.max())
    assert ANCHOR not in set(found["codec"])


def test_bd_rate_averages_the_log_rate_over_the_shared_qualities():
    """Straight lines in log rate, one above the other by a known ratio, over different ranges and numbers of points."""

    def line(qualities: np.ndarray, factor: float) -> np.ndarray:
        return np.stack([factor * 10 ** (qualities / 10), qualities], axis=1)

    low, high, rate, why = bd_rate(line(np.linspace(20, 30, 5), 1), line(np.linspace(25, 40, 7), 0.7))
    assert (low, high, why) == (25, 30, "") and rate == pytest.approx(-30)
    curve = np.stack([[200.0, 300, 500, 900, 1500], [20.0, 23, 27, 30, 34]], axis=1)
    assert bd_rate(curve, curve)[2] == pytest.approx(0, abs=1e-9)
    assert bd_rate(curve * [0.5, 1], curve)[2] == pytest.approx(100)


def test_where_there_is_no_bd_rate_the_row_says_why():
    short = bd_rates(with_curve("short", 0.5, keep=3))
    assert set(short[short["codec"] == "short"]["undefined"]) == {"the codec has 3 rising points, 4 are needed"}
    apart = bd_rates(with_curve("apart", 0.5, lift=50))
    assert set(apart[apart["codec"] == "apart"]["undefined"]) == {"no shared range"}
    table = with_curve("fewer", 0.5)
    table.loc[(table["codec"] == "fewer") & (table["metric"] == "amr_reliable"), "n"] //= 10
    fewer = bd_rates(table).query("codec == 'fewer'").set_index("metric")
    assert (
        set(fewer.loc["amr_reliable", "undefined"]) == {"other queries"} and fewer.loc["psnr", "undefined"].eq("").all()
    )
    assert fewer.loc["amr_reliable", ["low", "high", "bd_rate"]].isna().all(axis=None)
    trained = short[(short["codec"] == "uoisc") & (short["metric"] == "amr_reliable")]
    assert set(trained["anchor_form"]) == {"file", "mosaic"} and trained["bd_rate"].isna().all()
    assert set(trained["undefined"]) == {"the codec has 3 rising points, 4 are needed"}
    defined = short["undefined"] == ""
    assert (short["bd_rate"].notna() == defined).all() and defined.any()


def test_tables_print_the_points_and_the_rates(tmp_path):
    table = all_points()
    shown = tables.equal_bytes(table)
    mine = shown[(shown["method"] == "JPEG") & (shown["form"] == "one file per image")].iloc[0]
    point = table[(table["codec"] == "jpeg") & (table["form"] == "file") & (table["setting"] == 0)]
    amr = point[(point["metric"] == "amr_reliable") & (point["judge"] == JUDGES[0])]
    amr = amr[amr["split"] == "unseen"].iloc[0]
    assert mine["unseen, LLaVA"] == f"{amr['value']:.3f} [{amr['low']:.3f}, {amr['high']:.3f}]"
    assert (mine["bytes"], mine["less flat"], mine["n"], mine["floor"]) == ("300.0", "10.0", "50", "0.200")
    synthetic.write(tmp_path)
    written = write_bd_rates(tmp_path)
    assert len(read_table(tmp_path, "bd_rate.csv")) == len(written)
    rates = tables.bd_rate(written).set_index(["method", "form"])
    cell = written[(written["codec"] == "jpeg") & (written["form"] == "file") & (written["split"] == "unseen")]
    psnr = cell[cell["metric"] == "psnr"].iloc[0]
    expected = f"{psnr['bd_rate']:+.0f} % ({psnr['low']:.1f} to {psnr['high']:.1f})".replace("-", "−")
    assert rates.loc[("JPEG", "one file per image"), "PSNR, unseen"] == expected
    assert rates["AMR unseen, independent"].str.endswith("4 are needed").any()


def test_the_figure_draws_every_point_of_a_panel():
    table, figure = all_points(), drawn("rate_answer")
    panel = table[(table["split"] == "unseen") & (table["metric"] == "amr_reliable") & (table["judge"] == JUDGES[-1])]
    for axes, form in zip(figure.axes[:2], ("file", "mosaic"), strict=True):
        expected = panel[panel["form"].isin([form, "message"])]
        places = {tuple(xy) for line in axes.containers for xy in line[0].get_xydata()}
        assert places == set(expected[["bytes", "value"]].itertuples(index=False, name=None))
        floor = table[
            (table["codec"] == "uoisc") & (table["metric"] == "amr_floor_reliable") & (table["split"] == "unseen")
        ]
        floor = floor[floor["judge"] == JUDGES[-1]]["value"].iloc[0]
        assert any(np.allclose(line.get_ydata(), floor) for line in axes.lines)
