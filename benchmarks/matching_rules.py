"""What one of our own matching rules is worth: the primary contrasts over the fresh runs, with it and without it.

    python -m benchmarks.matching_rules

The rule (`uoisc/data/answers.py`): where several answers are right, any two of them match. The numbers in
docs/results.md, "How to read the numbers", are what this prints, in a minute or two, from the answers in results/runs.
"""

import pandas as pd

from uoisc.base.config import ROOT, load_params, paths
from uoisc.base.results import UNSEEN, read_table
from uoisc.claims.contrasts import load_contrasts, measured
from uoisc.claims.verdicts import decide
from uoisc.data.answers import answers_match
from uoisc.judge.bootstrap import reliable_types

PROFILE = "small"
MATCHED = {"match": "answer_hat", "match_blank": "answer_blank", "match_wrong_query": "answer_wrong_query"}
SHOWN = ["id", "mean", "low", "high", "p", "verdict"]


def without(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers, matched by the other rules alone."""
    matches = {}
    for column, of in MATCHED.items():
        said = zip(answers["query"], answers["answer_source"], answers[of], strict=True)
        again = [None if pd.isna(other) else answers_match(query, own, other) for query, own, other in said]
        matches[column] = pd.array(again, "boolean")
    return answers.assign(**matches)


def main() -> None:
    """Prints the primary contrasts both ways, and the published run's AMR on unseen objects."""
    results = paths(PROFILE).results
    contrasts = [contrast for contrast in load_contrasts(ROOT / "paper" / "claims.yaml") if contrast.primary]
    rates = load_params(PROFILE).variants["uoisc"]
    folders = [results, *sorted((results / "runs").iterdir())]
    tables = [(read_table(folder, "answers.parquet"), read_table(folder, "entropy.csv")) for folder in folders]
    types = reliable_types(read_table(results, "foundation.csv"), tables[0][0]["type"].unique())
    for title, rule in (("with", lambda answers: answers), ("without", without)):
        own, *seeds = (measured(contrasts, rule(answers), entropy, types, rates) for answers, entropy in tables)
        claims = decide(contrasts, pd.concat(seeds), own)
        print(f"{title} the rule", claims[SHOWN].round(3).to_string(index=False), sep="\n")
        rows = rule(tables[0][0])[lambda rows: (rows["split"] == UNSEEN) & rows["type"].isin(types)]
        rows = rows.assign(match=rows["match"].astype(float)).groupby(["variant", "bits"])["match"].mean()
        print("published run, AMR", rows.loc[["uoisc", "no_alignment", "adaptive"]].round(3).to_string(), sep="\n")


if __name__ == "__main__":
    main()
