"""Every method gets the same trials, and what is in the table is not run again."""

import pandas as pd
import pytest

from benchmarks import trials
from uoisc.base import config
from uoisc.base.config import PARAMS, document
from uoisc.base.documents import edit_yaml
from uoisc.base.errors import ConfigError
from uoisc.stages.validation import COLUMNS, TRIAL


def rows(variant: str, rate: str, change: str, amr: float) -> pd.DataFrame:
    """What one trial leaves in the table, a row a judge; of another ranking the best of all."""
    own = dict.fromkeys(COLUMNS, 0.1) | {"profile": "small", "variant": variant, "rate": rate, "changes": change}
    own |= {"seed": 0, "split": "unseen"}
    table = [own | {"judge": judge, "ranking": "own", "amr": amr} for judge in ("llava", "llava_independent")]
    return pd.DataFrame([*table, own | {"judge": "llava", "ranking": "oracle", "amr": 0.99}])[[*TRIAL, *COLUMNS]]


def test_every_method_is_tried_as_often():
    counts = pd.Series([job[1] for job in trials.jobs("small")]).value_counts()
    assert counts.nunique() == 1 and {"uoisc", "no_alignment", "query_aware", "adaptive", "dial"} == set(counts.index)
    assert (
        len(set(trials.jobs("small"))) == len(trials.jobs("small")) == 5 * len(document(PARAMS)["trials"]["settings"])
    )


def test_what_is_in_the_table_is_not_run_again(tmp_path, monkeypatch, capsys):
    log = tmp_path / "trials.csv"
    every = trials.missing("small", log)
    assert every == trials.jobs("small")
    _, name, rate, (change,) = every[0]
    rows(name, rate, change, 0.5).to_csv(log, index=False)
    assert trials.missing("small", log) == every[1:]
    tried = []
    monkeypatch.setattr(trials, "LOG", log)
    monkeypatch.setattr(trials, "run_side_by_side", lambda function, jobs, workers, label: tried.extend(jobs))
    trials.main("small")
    assert tried == [(*job, log) for job in every[1:]] and "best" in capsys.readouterr().out


def test_the_best_setting_of_a_method_is_by_its_own_ranking():
    tables = [
        rows("uoisc", "tight", f"training.learning_rate={rate}", amr) for rate, amr in ((1, 0.4), (2, 0.6), (3, 0.5))
    ]
    found = trials.summary(pd.concat([*tables, rows("dial", "dial", "", 0.2)]), "small").set_index(
        ["variant", "changes"]
    )
    assert found["best"].to_dict() == {
        ("dial", ""): "best", ("uoisc", "training.learning_rate=1"): "",
        ("uoisc", "training.learning_rate=2"): "best", ("uoisc", "training.learning_rate=3"): "",
    }  # fmt: skip
    assert found.loc[("uoisc", "training.learning_rate=2"), "amr"] == pytest.approx(0.6)


@pytest.mark.parametrize("wrong", [{}, {"models": ["uoisc"], "settings": ["a=1"]}, [], {"models": "uoisc tight"}])
def test_a_list_of_trials_that_is_none_is_one_line(tmp_path, monkeypatch, wrong):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    edit_yaml(path, {"trials": ["x"]}) if wrong == [] else path.write_text(
        "\n".join(f"trials: {wrong}" if line.startswith("trials:") else line for line in path.read_text().split("\n"))
    )
    monkeypatch.setattr(trials, "PARAMS", path)
    with pytest.raises(ConfigError, match="params.yaml: trials: wants `models` and `settings`") as caught:
        trials.jobs("small")
    assert "\n" not in str(caught.value) and config.PARAMS == PARAMS
