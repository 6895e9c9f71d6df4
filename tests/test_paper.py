"""The paper and its tables: every number is looked up, the words follow the verdicts, the bytes repeat."""

import re
from pathlib import Path

import pandas as pd
import pytest
import synthetic_results as synthetic
from test_figures import drawn

from uoisc.base import results
from uoisc.base.errors import ConfigError, ResultsError, UoiscError
from uoisc.claims import verdicts
from uoisc.report import exhibits, generalisation, paper, provenance, readme, tables

ROOT = Path(__file__).resolve().parent.parent
CLAIMS, PARAMS = ROOT / "paper" / "claims.yaml", ROOT / "params.yaml"


def sources(folder: Path, claims: Path = CLAIMS) -> exhibits.Sources:
    """What the exhibits of these results are made of."""
    return exhibits.Sources(folder, "small", PARAMS, claims, folder)


def write_all(folder: Path) -> list[dict]:
    """Claims and tables of a folder of results; returns the claims' rows."""
    found = sources(folder)
    exhibits.write_tables(found, folder / "tables")
    return verdicts.write_claims(found["claims"], folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results, tables and figures of the synthetic fixture, in one folder."""
    folder = synthetic.write(tmp_path_factory.mktemp("paper"))
    write_all(folder)
    (folder / "figures").mkdir()
    for name in exhibits.FIGURES:
        drawn(name).savefig(folder / "figures" / f"{name}.pdf")
    return folder


def build(folder: Path, out: str = "paper.pdf") -> bytes:
    return paper.build(folder, folder / out, folder / "tables", folder / "figures").read_bytes()


def test_paper_compiles_to_the_same_bytes(made):
    first = build(made, "first.pdf")
    assert first.startswith(b"%PDF") and first == build(made, "second.pdf")
    pages = len(re.findall(rb"/Type\s*/Page\b", first))
    assert 6 <= pages <= 18


def test_what_lacks_is_named_in_one_line(made, tmp_path):
    with pytest.raises(ResultsError, match="claims.json: not there") as caught:
        paper.build(tmp_path, tmp_path / "x.pdf", made / "tables", made / "figures")
    assert "\n" not in str(caught.value)
    with pytest.raises(UoiscError, match="does not compile: file not found .*csv"):
        paper.build(made, tmp_path / "x.pdf", tmp_path, made / "figures")
    assert not (tmp_path / "x.pdf").exists()


def test_a_number_that_the_tables_lack_stops_the_paper(made, tmp_path):
    for path in (made / "tables").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    pairs = pd.read_csv(tmp_path / "pairs.csv")
    results.write_csv(pairs[pairs.reference != "uniform"], tmp_path / "pairs.csv")
    with pytest.raises(UoiscError, match="no row with") as caught:
        paper.build(made, tmp_path / "x.pdf", tmp_path, made / "figures")
    assert "\n" not in str(caught.value)


def test_verdicts_of_another_run_stop_the_paper(made, tmp_path):
    rows = [row | {"verdict": "reproduced"} for row in results.read_json(made, "claims.json")]
    results.write_json(rows, tmp_path / "claims.json")
    with pytest.raises(UoiscError, match="claims.json and paper/tables differ"):
        paper.build(tmp_path, tmp_path / "x.pdf", made / "tables", made / "figures")


def prose() -> str:
    """The text of paper.typ without what sets it: code, maths, comments, strings."""
    text = (ROOT / "paper" / "paper.typ").read_text(encoding="utf-8").split("*_Abstract_*")[1]
    for pattern in (
        r"//.*",
        r"CC BY-SA 4\.0",
        r'"[^"]*"',
        r"\$[^$]*\$",
        r"`[^`]*`",
        r"#set .*",
        r"\d+pt",
        r"[xy]: \d",
        r"\(x, _\).*",
    ):
        text = re.sub(pattern, " ", text)
    return text


def test_no_result_is_typed_by_hand():
    found = re.findall(r"[-+]?\d*\.\d+|\d+ ?%", re.sub(r"\d+(\.\d+)?(em|in)", " ", prose()))
    assert found == []


def test_the_words_differ_when_the_verdicts_do(made, tmp_path):
    synthetic.write(tmp_path, synthetic.answers(queries=60))
    seeds = results.read_table(tmp_path, "seeds.csv")
    results.write_csv(seeds.assign(value=-seeds["value"]), tmp_path / "seeds.csv")
    rows = {row["id"]: row["verdict"] for row in write_all(tmp_path)}
    before = {row["id"]: row["verdict"] for row in results.read_json(made, "claims.json")}
    assert (before["S1-selection"], rows["S1-selection"]) == ("supported, exceeds", "opposed")
    assert (before["S3-uniform"], rows["S3-uniform"]) == ("met", "not met")
    assert paper.build(tmp_path, tmp_path / "x.pdf", tmp_path / "tables", made / "figures").exists()


def test_tables_print_what_the_results_hold(made):
    main = pd.read_csv(made / "tables" / "main.csv").set_index(["method", "bits"])
    summary = results.read_table(made, "summary.csv")
    row = summary[(summary.variant == "query_aware") & (summary.bits == 432) & (summary.metric == "amr_reliable")]
    row = row[(row.judge == "llava") & (row.split == "unseen")].iloc[0]
    assert main.loc[("query-aware", 432), "unseen, LLaVA"] == f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
    assert tables.interval(-0.1234, -0.2, 0.05, percent=True, signed=True) == "−12.3 % [−20.0, +5.0]"
    assert tables.interval(float("nan"), 0.0, 0.0) == tables.NONE
    card = pd.read_csv(made / "tables" / "data_card.csv").set_index("type")
    assert card.loc["existence", "unseen"] == "200, 2 (0.50)"


def test_the_entropy_table_has_every_kind_and_the_real_bytes():
    costs = synthetic.entropy()
    table = tables.entropy(costs[costs["variant"].isin(["uoisc", "query_aware"]) & (costs["bits"] == 144)])
    assert table.to_dict("records") == [
        {"method": "UO-ISC (FiLM)", "bits": "144", "static": "140.0", "conditioned": "130.0", "causal": "120.0",
         "bytes": "15.0"},
        {"method": "query-aware", "bits": "144", "static": "140.0", "conditioned": "130.0", "causal": tables.NONE,
         "bytes": "17.0"},
    ]  # fmt: skip


def test_the_channel_table_has_a_row_per_method_rate_and_link():
    table = tables.channel(synthetic.channel()).set_index(["method", "bits", "link"])
    links = ("uncoded 8-PSK", "LDPC 1/2, QPSK", "LDPC 1/2, 16-QAM")
    assert list(table.index[:6]) == [("UO-ISC (FiLM)", bits, link) for bits in ("144", "432") for link in links]
    assert [table.loc[("rate dial", "432", link), "symbols"] for link in links] == ["144", "432", "216"]
    row = table.loc[("UO-ISC (FiLM)", "432", "uncoded 8-PSK")]
    whole, half = "0.600 [0.550, 0.650]", "0.400 [0.350, 0.450]"
    assert row.tolist() == ["144", whole, "0.250", half, whole, "10.0", "10.0"]
    assert table.loc[("JPEG 2000", "3148", "uncoded 8-PSK"), "nothing"] == tables.NONE
    assert table.iloc[-1]["no errors"] == "0.200 [0.150, 0.250]" and table.index[-1][0] == "blank image"


@pytest.mark.parametrize("profile", ["small", "smoke", "paper"])
def test_every_value_of_params_states_its_source(profile):
    settings = provenance.settings(PARAMS, profile)
    named = ~settings.setting.str.startswith("variants")
    assert settings[named & (settings.source == provenance.NOT_STATED)].setting.tolist() == []


def test_sources_are_those_of_the_lines_where_values_stand(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "active: [small]\n"
        "published: small\n"
        "base:\n"
        "  data:\n"
        "    size: 96  # ours: small\n"
        "    objects: 3  # paper\n"
        "  rates:  # authors' code\n"
        "    tight: {segments: 2, codes: 4}\n"
        "  dial:\n"
        "    steps: 4\n"
        "    weight: 2  # ours: half\n"
        '  text: "a # b"\n'
        "profiles:\n"
        "  small: {}\n"
        "  smoke:  # ours: quick\n"
        "    data: {size: 8}\n"
        "    dial: {weight: 1}  # paper\n"
    )
    smoke = provenance.settings(tmp_path / "params.yaml", "smoke").set_index("setting")
    assert smoke.loc["data.objects"].tolist() == ["3", "paper", ""]
    assert smoke.loc["data.size"].tolist() == ["8", "ours", "quick"]
    assert smoke.loc["dial.weight"].tolist() == ["1", "paper", ""]
    small = provenance.settings(tmp_path / "params.yaml", "small").set_index("setting")
    assert small.loc["data.size"].tolist() == ["96", "ours", "small"]
    assert small.loc["dial.weight"].tolist() == ["2", "ours", "half"]
    assert small.loc["rates.tight"].tolist() == ["segments 2, codes 4", "authors' code", ""]
    assert small.loc["dial.steps", "source"] == provenance.NOT_STATED
    assert small.loc["text"].tolist() == ["a # b", provenance.NOT_STATED, ""]
    with pytest.raises(ConfigError, match="no profile large"):
        provenance.settings(tmp_path / "params.yaml", "large")


def test_generated_blocks_are_put_between_their_markers(made, tmp_path):
    block = readme.claims_block(tables.claims(sources(made)["claims"]))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    readme.write_block(page, "results", block)
    readme.write_block(page, "results", block)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and text.count(block) == 1
    page.write_text("no markers")
    with pytest.raises(ResultsError, match="must hold the lines"):
        readme.write_block(page, "results", block)


def cells(block: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]


def test_the_readme_tells_each_primary_contrast_in_words_of_its_own(made):
    table = tables.claims(sources(made)["claims"])
    block = readme.claims_block(table)
    head, _, *rows = cells(block)
    assert all(len(set(column)) > 1 for column in zip(*rows, strict=True)) and max(map(len, block.splitlines())) <= 120
    assert head == ["claim", "paper", "published run", "mean of 5 runs [95 %]", "verdict"] and 8 <= len(rows) <= 14
    assert len({row[0] for row in rows}) == len(rows) == len(table)
    row = table.set_index("id").loc["S2-film"]
    assert [row.statement.removesuffix("."), "+34.0 %", row["one run"], row["over runs"], row.verdict] in rows


def test_fresh_runs_that_count_other_types_are_refused(made):
    found = sources(made)
    found["seeds"] = found["seeds"].assign(types="place")
    with pytest.raises(ResultsError, match=r"seeds.csv: counts place, the judges know .*; run `uoisc seeds --force"):
        found["claims"]


def test_the_outcome_in_a_sentence_is_the_mean_over_fresh_runs(made):
    runs = sources(made)["runs"]
    said = " ".join(readme.headline_block(runs).split())
    own = runs[(runs["split"] == "unseen") & (runs["bits"] == runs.loc[runs["variant"] == "uoisc", "bits"].min())]
    amr = own.groupby("variant")["amr"].mean()
    assert f"mean of {own['seed'].nunique()} runs" in said
    assert f"UO-ISC (FiLM) {amr['uoisc']:.2f}" in said and f"query-aware {amr['query_aware']:.2f}" in said
    assert f"a blank image {own['amr_floor'].mean():.2f}." in said
    assert "make seeds" in readme.headline_block(runs.iloc[:0])


def test_a_contrast_that_was_changed_since_it_was_measured_is_refused(made, tmp_path):
    """Or another comparison's mean and verdict would stand beside it."""
    text = (ROOT / "paper" / "claims.yaml").read_text(encoding="utf-8")
    (tmp_path / "claims.yaml").write_text(text.replace("uoisc@tight - query_aware@tight", "adaptive@tight - blank", 1))
    found = sources(made, tmp_path / "claims.yaml")
    says = "seeds.csv: S1-film is of `AMR uoisc@tight - query_aware@tight, unseen`, claims.yaml asks for `AMR adaptive"
    with pytest.raises(ResultsError, match=says):
        found["claims"]


def test_one_run_shows_its_values_and_no_verdict(made):
    found = sources(made)
    found["seeds"] = found["seeds"].iloc[:0]
    table = tables.claims(found["claims"])
    assert set(table["verdict"]) == {"one run: no verdict"}
    assert table.set_index("id").at["S1-selection", "one run"].startswith("+0.1")
    assert "none yet" in readme.claims_block(table) and set(table["over runs"]) == {tables.NONE}
    of_another = exhibits.Sources(made, "smoke", PARAMS, CLAIMS, made)
    assert of_another["seeds"].empty, "runs of another study say nothing about a profile"


def test_the_pages_list_every_figure_and_say_what_every_method_is(made):
    listed = cells(readme.figures_block())[2:]
    assert len(listed) == len(exhibits.FIGURES) and all(all(row) for row in listed)
    assert ["[codebook_use](../paper/figures/codebook_use.png)", "how much of each codebook is in use",
            "`results/codebooks.csv`"] in listed  # fmt: skip
    evaluated = results.read_table(made, "summary.csv")["variant"].unique()
    told = cells(readme.methods_block(tables.methods(results.read_table(made, "summary.csv"))))[2:]
    assert {row[0] for row in told} == {f"`{name}`" for name in evaluated}


def test_the_paper_shows_every_figure_of_the_list_and_no_other():
    text = (ROOT / "paper" / "paper.typ").read_text(encoding="utf-8")
    assert sorted(re.findall(r'#drawing\("(\w+)"', text)) == sorted(exhibits.FIGURES)
    assert set(re.findall(r'read-table\("(\w+)"\)', text)) <= set(exhibits.TABLES)


def swallowed(text: str) -> list[str]:
    """Where typst reads a semicolon as the end of `#code` and does not print it."""
    found = []
    for start in re.finditer(r"#(?!let|set|show|if|import)[a-z]", text):
        end, depth = start.start() + 1, 0
        while end < len(text) and (depth or re.match(r"[\w\-(\[]|\.[a-z]", text[end : end + 2])):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[end], 0)
            end += 1
        if text[end : end + 1] == ";":
            found.append(text[start.start() : end + 1])
    return found


def test_no_semicolon_after_a_computed_number_is_swallowed():
    assert swallowed('is #priced("a; b (c)", "d", at: -1); and #x.y; but #f(1)\\; [#g(2)]; #h.') == [
        '#priced("a; b (c)", "d", at: -1);', "#x.y;",
    ]  # fmt: skip
    assert swallowed((ROOT / "paper" / "paper.typ").read_text(encoding="utf-8")) == []


def test_a_row_over_several_types_names_them():
    shown = tables.foundation(synthetic.foundation()).set_index("metric")
    several = "accuracy of existence, place, colour"
    assert shown.loc[several, "LLaVA"] == "0.900 [0.880, 0.920]" and "accuracy" not in shown.index
    assert shown.loc[f"{several}, lines", "LLaVA"] == "0.700 [0.680, 0.720]"
    types = generalisation.judges_by_type(synthetic.foundation()).set_index("type")
    assert types.loc["place", "LLaVA, all objects"] == "0.900 [0.880, 0.920]" and len(types) == len(synthetic.TYPES)
    alone = synthetic.foundation()[lambda rows: ~rows["metric"].str.contains(":")]
    assert "accuracy" in set(tables.foundation(alone)["metric"]), "of judges that were asked about no types"


def test_every_column_of_the_main_table_is_the_summarys(made):
    summary, entropy = results.read_table(made, "summary.csv"), synthetic.entropy()
    bits = synthetic.rates_of("adaptive")[0]
    own = summary[(summary["variant"] == "adaptive") & (summary["bits"] == bits)]
    cells = own.set_index(["split", "judge", "metric"])[["value", "low", "high", "n"]]
    paid = entropy[(entropy["variant"] == "adaptive") & (entropy["bits"] == bits) & entropy["chosen"]]

    def shown(split: str, judge: str, metric: str, digits: int | None = None) -> str:
        value, low, high, _ = cells.loc[(split, judge, metric)]
        return tables.interval(value, low, high) if digits is None else f"{value:.{digits}f}"

    beside = {"floor": "amr_floor", "accuracy": "accuracy", "source right": "amr_source_right"}
    beside |= {"wrong query": "amr_wrong_query"}
    assert rows_named(tables.main_comparison(summary, entropy), "adaptive (selection)")[0] == {
        "method": "adaptive (selection)",
        "bytes": f"{paid['payload_bits'].item() / 8:.1f}",
        "bits": f"{bits:g}",
        "n": f"{cells.loc[('unseen', 'llava_independent', 'amr_reliable'), 'n']:g}",
        "unseen, LLaVA": shown("unseen", "llava", "amr_reliable"),
        "unseen, independent": shown("unseen", "llava_independent", "amr_reliable"),
        **{title: shown("unseen", "llava_independent", f"{metric}_reliable", 3) for title, metric in beside.items()},
        "all types": shown("unseen", "llava_independent", "amr", 3),
        "seen, independent": shown("seen", "llava_independent", "amr_reliable"),
        "PSNR": shown("unseen", "none", "psnr", 1),
    }


def test_every_column_of_the_ablations_is_that_of_the_differences(made):
    differences, entropy = results.read_table(made, "differences.csv"), synthetic.entropy()
    bits = synthetic.rates_of("uoisc")[0]
    keys = ["variant", "reference", "bits", "split", "judge"]
    rows = differences.set_index(keys).sort_index().loc[("uoisc", "no_alignment", bits)]
    paid = entropy[(entropy["variant"] == "uoisc") & (entropy["bits"] == bits) & entropy["chosen"]]

    def shown(split: str, judge: str, what: str = "difference") -> str:
        row = rows.loc[(split, judge)]
        numbers = (row[what], row[f"{what}_low"], row[f"{what}_high"])
        return tables.interval(*numbers, signed=True, percent=what == "relative")

    assert rows_named(tables.ablations(differences, entropy), "UO-ISC (FiLM)") == [
        {
            "method": "UO-ISC (FiLM)",
            "bytes": f"{paid['payload_bits'].item() / 8:.1f}",
            "bits": f"{bits:g}",
            "unseen, LLaVA": shown("unseen", "llava"),
            "unseen, independent": shown("unseen", "llava_independent"),
            "relative, independent": shown("unseen", "llava_independent", "relative"),
            "seen, independent": shown("seen", "llava_independent"),
        }
    ]


def test_every_column_of_the_pairs_and_on_which_side_of_zero_they_lie(made):
    intervals = [(0.01, 0.03, "above"), (-0.03, -0.01, "below"), (-0.01, 0.03, "unclear")]
    some = results.read_table(made, "differences.csv").query("variant == 'uoisc'").head(3)
    some = some.assign(
        difference_low=[low for low, *_ in intervals], difference_high=[high for _, high, _ in intervals]
    )
    shown = tables.pairs(some).to_dict("records")
    keys = ["variant", "reference", "bits", "reference_bits", "split", "judge", "n"]
    for found, row, (low, high, sign) in zip(shown, some.to_dict("records"), intervals, strict=True):
        assert found == {key: row[key] for key in keys} | {
            "rate": str(sorted(some["bits"].unique()).index(row["bits"])),
            "difference": tables.interval(row["difference"], low, high, signed=True),
            "relative": tables.interval(*(row[f"relative{end}"] for end in ("", "_low", "_high")), True, True),
            "sign": sign,
        }


def rows_named(table: pd.DataFrame, method: str) -> list[dict]:
    return table[table["method"] == method].to_dict("records")


def test_what_gives_film_its_fair_chance_says_so_itself(made):
    differences, entropy = results.read_table(made, "differences.csv"), synthetic.entropy()
    fair = ["UO-ISC (FiLM)", "UO-ISC, joint attention", "UO-ISC, query at decoder"]
    assert tables.fair_chance(differences, entropy)["method"].tolist() == fair
    assert not {*fair[1:]} & set(tables.ablations(differences, entropy)["method"])


def test_notation_lists_every_equation_and_names_what_exists():
    notation = (ROOT / "paper" / "NOTATION.md").read_text(encoding="utf-8")
    labels = re.findall(r"<(eq-[a-z0-9]+)>", (ROOT / "paper" / "paper.typ").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| (\d+) \| (eq-[a-z0-9]+) \|", notation, re.M)
    assert rows == [(str(i + 1), label) for i, label in enumerate(labels)]
    for module, names in re.findall(r"`(\w+\.py)`: ((?:`\w+`(?:, )?)+)", notation):
        source = ROOT / "uoisc" / module
        if source.exists():
            absent = [n for n in re.findall(r"`(\w+)`", names) if n not in source.read_text(encoding="utf-8")]
            assert not absent, f"{module} has no {absent}"
