"""params.yaml is read strictly: each wrong value is one line that names the key."""

import hashlib
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import tiny
import workplace
from dvc.utils.serialize import parse_yaml as parse_as_dvc

from uoisc.base import config
from uoisc.base.config import PARAMS, ROOT, activate, active_profile, check_ready, document, load_params, merged, paths
from uoisc.base.documents import edit_yaml, parse_yaml
from uoisc.base.errors import ConfigError, DataError
from uoisc.base.schema import AUTO
from uoisc.base.settings import FIXED_RATE, RATE_DIALS

DOCUMENT = document(PARAMS)
DIGESTS = {
    "smoke": "3e8a532281cd0678",
    "small": "2fc09bad5e5806bb",
    "extended": "c6c0bcebf75a54d1",
    "blind_clip": "9142647c9a0a062c",
    "paper": "937d1353c3561e59",
    "seeds": "87f7e63e58498e3a",
}


@pytest.fixture
def write(tmp_path):
    """Writes a params.yaml that holds the tests' own parameters but for one value, changed or removed."""

    def changed(key: str, value=None, remove: bool = False):
        small = workplace.document(tiny.PARAMS)
        *parents, last = key.split(".")
        tree = small
        for name in parents:
            tree = tree[name]
        if remove:
            del tree[last]
        else:
            tree[last] = value
        path = tmp_path / "params.yaml"
        workplace.write_params(path, small, "small")
        return path

    return changed


def refused(path, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_params("small", path)
    assert "\n" not in str(caught.value)


def test_parameters_go_round(write):
    assert load_params("small", write("seed", 0)) == tiny.PARAMS
    assert load_params("small", write("seed", 7)).seed == 7


@pytest.mark.parametrize(("profile", "digest"), DIGESTS.items())
def test_the_values_of_every_profile_are_those_of_the_published_runs(profile, digest):
    """Whatever the file looks like; a value that is meant to change changes its line here."""
    assert hashlib.sha256(json.dumps(asdict(load_params(profile))).encode()).hexdigest()[:16] == digest


def test_an_unknown_attention_is_one_line():
    with pytest.raises(ConfigError, match="foundation.clip.relevance_attention = 'key_key': choose of query_key, "):
        load_params("paper", changes=("foundation.clip.relevance_attention=key_key",))


def test_a_number_that_may_be_left_to_the_machine(write):
    """`workers: auto`; other numbers know no such word."""
    assert load_params("small", write("workers", "auto")).workers == AUTO == 0
    refused(write("workers", 0), r"workers = 0: out of range \(allowed: 1 to 1024, or auto\)")
    refused(write("workers", "many"), r"workers = 'many': must be int \(allowed: 1 to 1024, or auto\)")
    refused(write("seed", "auto"), r"seed = 'auto': must be int")


def test_the_papers_profile_spends_what_the_authors_spend():
    """bits = taps * tokens * segments * log2 codes; rankings stay within the fixed rates' bits."""
    from uoisc.rate import Packing, Shape

    codec = load_params("paper").codec
    tokens = 22 * 22
    for name, bits in (("tight", 4 * tokens * 2 * 6), ("middle", 4 * tokens * 4 * 6), ("wide", 4 * tokens * 16 * 6)):
        rate = codec.rates[name]
        assert Shape(len(codec.taps), tokens, rate.segments, rate.codes).units * tokens * 6 == bits
        shape = Shape(len(codec.taps), tokens, rate.ranked_segments, rate.ranked_codes)
        ranked = Packing(shape, rate.ranked_tokens, shape.units, rate.ranked_background)
        assert 0.99 * bits < ranked.bits <= bits


def test_smoke_differs_from_small_in_size_alone():
    """What shapes models and objects is the same, so that smoke runs the code that small runs."""
    smoke, small = load_params("smoke"), load_params("small")
    quick = {key: getattr(smoke.codec.dial, key) for key in ("budgets", "queries", "steps")}
    assert smoke.codec == replace(small.codec, dial=replace(small.codec.dial, **quick)) and smoke.data == small.data
    assert smoke.variants.keys() <= small.variants.keys()
    assert smoke.training.phase1_steps < small.training.phase1_steps


WRONG = [  # (key, value, what is said of it)
    ("tranining", 1, ": unknown key, choose of "),
    ("codec.rates.low.segment", 1, ": unknown key, choose of "),
    ("data.image_size", 31, r" = 31: out of range \(allowed: 32 to 4096\)"),
    ("foundation.clip.layers", 1, r" = 1: out of range \(allowed: 2 to 64\)"),
    ("seed", -1, r" = -1: out of range \(allowed: 0 to 2147483647\)"),
    ("training.learning_rate", 2.0, r" = 2.0: out of range \(allowed: 1e-08 to 1.0\)"),
    ("training.learning_rate", float("nan"), r" = nan: out of range \(allowed: 1e-08 to 1.0\)"),
    ("codec.decoder_channels", [128, 4, 64, 32], r"\[1\] = 4: out of range \(allowed: 8 to 4096\)"),
    ("deterministic", 1, " = 1: must be true or false$"),
    ("data.image_size", "96", " = '96': must be int"),
    ("data.image_size", 96.5, " = 96.5: must be int"),
    ("data.image_size", True, " = True: must be int"),
    ("training.learning_rate", "fast", " = 'fast': must be float"),
    ("data.held_out", ["animal"], ".*: must be str"),
    ("codec", 3, ": must be a mapping"),
    ("codec.taps", 3, ": must be a list"),
    ("codec.taps", [], ": must be a list with at least one entry"),
    ("codec.rates", {}, ": must be a mapping with at least one entry"),
    *(("data.kind", kind, " = .*: choose of drawings, vqav2") for kind in (["drawings"], {"a": 1}, None, True, "vqa")),
    ("foundation.clip.width", 80, " = 80: must be a multiple of 32"),
    ("codec.taps", [2, 1], ".*: must ascend"),
    ("codec.taps", [1, 1], ".*: must ascend"),
]
IMPOSSIBLE = [  # together with the other values
    ("data.validation", "animal", "must not be data.held_out"),
    ("data.held_out", "unicorn", " = 'unicorn': no drawings of that category, choose of animal, "),
    ("data.validation", "unicorn", " = 'unicorn': no drawings of that category"),
    ("data.objects", 9999, " = 9999: data/objects.csv keeps 258"),
    ("data.image_size", 64, "must be a multiple of 3 \\* foundation.clip.patch_size = 48"),
    ("foundation.tower.patch_size", 16, "must be data.image_size / 3 = 32"),
    ("foundation.llava.heads", 3, "heads of an even width must make up foundation.llava.width = 64"),
    ("foundation.llava.width", 32, "must exceed foundation.tower.embed_dim = 32"),
    ("codec.decoder_channels", [64, 32], "2 stages turn 6 tokens a side into 24 pixels, not data.image_size = 96"),
    ("codec.decoder_channels", [12, 16, 8, 8], "the first 2 must be multiples of 8"),
    ("codec.taps", [1, 3], "ascending block numbers from 0 to 2"),
    ("codec.rates.low.segments", 5, "must divide codec.width = 16"),
    ("codec.rates.low.ranked_segments", 7, "must divide codec.width = 16"),
    ("codec.rates.low.ranked_tokens", 36, "must be 1 to 35"),
    ("codec.rates.low.ranked_background", 4, "must be 0 to 3"),
    ("codec.dial.tokens", [2, 36], " = 36: must be at most 35"),
    ("codec.dial.budgets", [1], "bits or more"),
    ("training.accumulation", 3, "must divide training.batch_size"),
    ("training.rounding_step", 4, "0 to training.phase1_steps = 3"),
    ("training.intent_step", 4, "0 to training.phase1_steps = 3"),
    ("training.of", {"foo": {}}, "\\.foo: unknown variant, choose of uoisc, "),
    ("training.of", {"dial": {"phase1_steps": 9}}, "\\.dial\\.phase1_steps = 9: a rate dial's are codec.dial.steps"),
    (
        "training.of",
        {"uoisc": {"accumulation": 3}},
        "\\.uoisc\\.accumulation = 3: must divide training.of",
    ),
    ("foundation.clip.exclude", "beast", " = 'beast': no drawings of that category, choose of "),
    ("variants.foo", ["low"], ": unknown variant, choose of uoisc, "),
    ("variants.uoisc", ["low", "narrow"], "no rate 'narrow', choose of low, high"),
    ("variants.uoisc", ["dial"], ": no rate 'dial', choose of low, high"),
    ("variants.dial", ["low"], ": no rate 'low', choose of dial"),
    ("variants.uoisc", ["low", "low"], "names a rate twice"),
]


@pytest.mark.parametrize(
    ("variant", "alike"),
    [("uoisc", {"segments": 4, "codes": 2}), ("adaptive", {"ranked_segments": 2, "ranked_codes": 4})],
)
def test_rates_of_a_variant_cost_other_bits_each(variant, alike):
    """Results tell rates apart by their bits."""
    low, high = (tiny.PARAMS.codec.rates[name] for name in ("low", "high"))
    tokens = {"ranked_tokens": low.ranked_tokens, "ranked_background": low.ranked_background}
    same = replace(high, **alike | (tokens if variant == "adaptive" else {}))
    for second, says in (
        (high, None),
        (same, rf"variants\.{variant} = \['low', 'high'\]: two of them cost the same bits"),
    ):
        codec = replace(tiny.PARAMS.codec, rates={"low": low, "high": second})
        with pytest.raises(ConfigError, match=says) if says else nullcontext():
            replace(tiny.PARAMS, codec=codec, variants={variant: ("low", "high")})


@pytest.mark.parametrize(("key", "value", "says"), WRONG)
def test_a_wrong_value_is_one_line_that_names_its_key(write, key, value, says):
    refused(write(key, value), rf"^base\.{key}{says}")


@pytest.mark.parametrize(("key", "value", "says"), IMPOSSIBLE)
def test_what_does_not_go_together_is_refused_before_any_work(write, key, value, says):
    refused(write(key, value), rf"^{key}.*{says}")


def test_what_all_tokens_send_counts_in_the_cheapest_packing(write):
    refused(write("codec.dial.background", [3]), r"^codec\.dial\.budgets = \[60, 200\]: must be 240 bits or more")


@pytest.mark.parametrize("key", ["seed", "codec", "foundation.clip.width", "training.weights.vq"])
def test_missing(write, key):
    refused(write(key, remove=True), rf"^base\.{key}: missing")


def test_a_change_is_made_once_and_an_unknown_one_is_refused(write):
    path = write("seed", 0)
    changed = load_params("small", path, ("training.emphasis.pixel=4", "codec.rates.low.codes=8"))
    assert (changed.training.emphasis.pixel, changed.codec.rates["low"].codes) == (4.0, 8)
    assert replace(changed, training=tiny.PARAMS.training, codec=tiny.PARAMS.codec) == tiny.PARAMS
    for change in ("training.log_every", "training.emphases=4", "emphasis=4", "seed.low=4", "training.log_every="):
        with pytest.raises(ConfigError, match="give a change as key=value"):
            load_params("small", path, (change,))
    with pytest.raises(ConfigError, match="seed is changed 2 times: give each key once"):
        load_params("small", path, ("seed=1", "workers=1", "seed=2"))
    with pytest.raises(ConfigError, match="^'training.emphasis.pixel=.*not YAML"):
        load_params("small", path, ("training.emphasis.pixel=[",))


def test_a_variants_own_training_is_all_training_but_for_what_it_names(write):
    path = write("training.of", {"uoisc": {"learning_rate": 1e-5, "emphasis": {"pixel": 3.0}}, "dial": {}})
    params = load_params("small", path)
    general, own = params.of("adaptive").training, params.of("uoisc").training
    assert general == params.of("dial").training == tiny.PARAMS.training
    assert own == replace(general, learning_rate=1e-5, emphasis=replace(general.emphasis, pixel=3.0))
    assert replace(params.of("uoisc"), training=general) == tiny.PARAMS
    for change, ours, theirs in (
        ("training.learning_rate=0.5", 0.5, 0.5),
        ("training.of.uoisc.learning_rate=0.5", 0.5, 2e-3),
    ):
        changed = load_params("small", path, (change,))  # a change of all training reaches every variant
        assert (changed.of("uoisc").training.learning_rate, changed.of("dial").training.learning_rate) == (ours, theirs)
    for own, says in ({"rate": 1}, "rate: unknown key"), ({"learning_rate": 2}, "learning_rate = 2: out of range"):
        refused(write("training.of", {"uoisc": own}), rf"^base\.training\.of\.uoisc\.{says}")
    refused(write("training.of", {"uoisc": 3}), r"^base\.training\.of\.uoisc: must be a mapping, not 3")
    refused(write("training.of", 3), r"^base\.training\.of: must be a mapping, not 3")


def test_the_pipeline_watches_all_training_and_each_variants_own():
    """A key that `dvc.yaml` lacks would leave a model of other settings in place."""
    stages = parse_yaml((ROOT / "dvc.yaml").read_text(), "")["stages"]
    for name in ("phase1", "phase2", "ablations", "dials"):
        keys = [
            key
            for item in stages[name]["params"]
            for key in (item["params.yaml"] if isinstance(item, dict) else [item])
        ]
        assert {f"base.training.{key}" for key in DOCUMENT["base"]["training"]} - {"base.training.of"} <= set(keys)
        own = [key.removeprefix("base.training.of.") for key in keys if key.startswith("base.training.of.")]
        assert own == {"ablations": ["${item.variant}"], "dials": [*RATE_DIALS]}.get(name, ["uoisc"])
    assert (
        DOCUMENT["base"]["training"]["of"].keys() == DOCUMENT["base"]["variants"].keys() == {*FIXED_RATE, *RATE_DIALS}
    )


def test_one_codebook_must_not_grow_without_bound():
    codec = replace(tiny.PARAMS.codec, rates={"low": replace(tiny.PARAMS.codec.rates["low"], segments=4, codes=32)})
    with pytest.raises(ConfigError, match="variants.plain_vq: at rate 'low' its one codebook would hold 1048576 codes"):
        replace(tiny.PARAMS, codec=codec, variants={"plain_vq": ("low",)})


def test_unknown_profile_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="no profile 'large' in params.yaml: choose of "):
        load_params("large")
    file = tmp_path / "params.yaml"
    with pytest.raises(ConfigError, match="params.yaml: not there; restore it with"):
        load_params("small", file)
    for text in (b"profiles: {small: [", b"profiles: {a: \0}", b"a: 1\na: 2"):
        file.write_bytes(text)
        refused(file, "params.yaml: not YAML")
    file.write_bytes(b"profiles: {small: \xff}")
    refused(file, r"params.yaml: cannot be read \(it is no UTF-8\)")
    for text in ("", "- a", "hello", "profiles:", "profiles: [small]", "base: 1"):
        file.write_text(text)
        refused(file, "params.yaml: `base` must be a mapping")
    for active in ("small", "[]", "[large]", "[small, small]", "[[small]]", "[1]", "[../small]"):
        file.write_text(f"active: {active}\npublished: small\nbase: {{}}\nprofiles: {{small: {{}}}}")
        refused(file, "active|is no profile's name")
    for profiles in ("2024: {}", "../up: {}", "small:", "small: 3", "true: {}", "[a]: {}"):
        file.write_text(f"active: [a]\npublished: a\nbase: {{}}\nprofiles: {{a: {{}}, {profiles}}}")
        refused(file, "is no profile's name|must be a mapping")
        with pytest.raises(ConfigError, match="is no profile's name|must be a mapping"):
            load_params("none", file)
    file.unlink()
    file.mkdir()
    refused(file, r"params.yaml: cannot be read \(Is a directory\)")


def test_numbers_in_the_forms_that_people_and_dvc_write(write):
    path = write("seed", 0)
    assert load_params("small", path, ("training.learning_rate=1e-05",)).training.learning_rate == 0.00001
    assert load_params("small", path, ("seed=010",)).seed == 10
    assert document(PARAMS) == parse_as_dvc(PARAMS.read_text(), "")


def test_an_error_says_in_which_part_of_the_file_a_value_stands(tmp_path):
    path, base = tmp_path / "params.yaml", workplace.document(tiny.PARAMS)
    pretrained = {"kind": "pretrained", "clip": {}}
    for own, match in (
        ({"training": {"emphasis": {"pixel": 0}}}, r"^profiles\.small\.training\.emphasis\.pixel = 0: out of range"),
        ({"training": {"emphases": 3}}, r"^profiles\.small\.training\.emphases: unknown key"),
        ({"codec": {"taps": [0, "x"]}}, r"^profiles\.small\.codec\.taps\[1\] = 'x': must be int"),
        ({"foundation": pretrained}, r"^profiles\.small\.foundation\.llava: missing"),
        ({"data": {3: 4}}, r"^profiles\.small\.data: its key 3 must be text|^base\.data: its key 3 must be text"),
        ({"trainign": {}}, r"^profiles\.small\.trainign: unknown key"),
    ):
        workplace.write_params(path, base, "small", own=own)
        refused(path, match)
    workplace.write_params(path, base | {"seed": -1}, "small", own={"workers": 1})
    refused(path, r"^base\.seed = -1: out of range")
    with pytest.raises(ConfigError, match=r"^--set training\.emphasis\.pixel = 0: out of range"):
        load_params("small", path, ("seed=1", "training.emphasis.pixel=0"))


def test_a_profile_is_the_base_with_what_it_changes():
    base = {
        "data": {"kind": "a", "x": 1},
        "codec": {"dial": {"p": 1, "q": [1, 2]}},
        "variants": {"u": ["t"], "v": ["t"]},
    }
    own = {"codec": {"dial": {"q": [3]}}, "variants": {"u": ["w"]}}
    assert merged(base, own) == base | {"codec": {"dial": {"p": 1, "q": [3]}}, "variants": {"u": ["w"]}}
    assert merged(base, {"data": {"x": 2}})["data"] == {"kind": "a", "x": 2}
    assert merged(base, {"data": {"kind": "b", "y": 2}})["data"] == {"kind": "b", "y": 2}
    merged(base, {})["data"]["x"] = 7
    assert base["data"]["x"] == 1


def test_the_names_of_variants_are_those_that_can_be_built():
    from uoisc.variants import VARIANTS

    assert {*FIXED_RATE} == {name for name, variant in VARIANTS.items() if not variant.dial}, "name it in settings.py"
    assert {*RATE_DIALS} == {name for name, variant in VARIANTS.items() if variant.dial}, "name it in settings.py"


@pytest.mark.parametrize("name", ["../../../escaped", "/elsewhere/x", "a/b", "", ".", "..", "a b", "-x", "a\n", "a.b"])
def test_a_profiles_name_leads_nowhere_else(name):
    for refuse in (paths, load_params, check_ready):
        with pytest.raises(ConfigError, match="is no profile's name"):
            refuse(name)


def test_the_published_profile_alone_publishes():
    assert paths(DOCUMENT["published"]).results == ROOT / "results"
    assert paths(DOCUMENT["published"]).paper == ROOT / "paper"
    assert paths("other").results == ROOT / "build" / "other" / "results"
    assert paths("other").paper == ROOT / "build" / "other" / "paper"
    assert (paths(DOCUMENT["published"]).docs, paths("other").docs) == (
        ROOT / "docs",
        ROOT / "build" / "other" / "docs",
    )
    assert paths("smoke").codec(2, "uoisc", "tight").parts[-4:] == ("codecs", "phase2", "uoisc", "tight.safetensors")
    assert active_profile() == DOCUMENT["active"][0]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with this project's params.yaml, from which the package reads and under which it writes."""
    shutil.copy(PARAMS, tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(config, "PARAMS", tmp_path / "params.yaml")
    return tmp_path


def test_a_folder_of_results_that_takes_no_file_is_one_line_before_any_work(project):
    assert check_ready("small") == load_params("small")
    (project / "results").write_text("a file in the folder's place")
    with pytest.raises(DataError, match="results: cannot be written"):
        check_ready("small")
    check_ready("smoke")
    assert not (project / "build").exists()
    (project / "build").write_text("a file in the folder's place")
    with pytest.raises(DataError, match="build: cannot be written"):
        check_ready("smoke")


def test_dvc_never_looks_for_results_elsewhere_than_a_profile_writes_them(project):
    edit_yaml(project / "params.yaml", {"active": ["smoke"]})  # as `dvc exp run -S 'active=[smoke]'`
    with pytest.raises(ConfigError, match="results = 'results', but profile smoke writes to build/smoke/results: run"):
        check_ready("smoke")
    activate("smoke")
    assert check_ready("smoke") == load_params("smoke")


LINES = PARAMS.read_text().splitlines(keepends=True)
REWRITTEN = """# above
active:  # said
- smoke  # beside
# between
ablations:
  - a
  - b
# below
dials: "a+b"  # joined
dialled:
- small
asked:
  objects: data/objects.csv
results: 'results'
paper: paper
docs: docs
published: small
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("rewritten", [False, True])
def test_activating_changes_values_alone(project, rewritten, ends):
    """Also after DVC or an editor wrote lists in rows, quotes and other line ends."""
    path = project / "params.yaml"
    text = path.read_text()
    if rewritten:
        text = REWRITTEN + text[text.index("base:") :]
    path.write_bytes(text.replace("\n", ends).encode())
    before = parse_yaml(text, "")
    assert activate("smoke").startswith("active: smoke, with 6 ablations and 2 dials")
    after = path.read_bytes().decode()
    assert after.count("\r") == (after.count("\n") if ends == "\r\n" else 0)
    found, smoke = parse_yaml(after, ""), before["profiles"]["smoke"]["variants"]
    assert found["active"] == ["smoke"] and found["dials"] == "dial+dial_uniform"
    assert ["uoisc", *found["ablations"], "dial", "dial_uniform"] == [*smoke]
    assert [found[name] for name in ("results", "paper", "docs")] == [
        f"build/smoke/{name}" for name in ("results", "paper", "docs")
    ]
    assert found["published"] == "small"
    assert {key: found[key] for key in ("base", "profiles")} == {key: before[key] for key in ("base", "profiles")}
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == comments
    activate("small")
    if not rewritten:
        assert path.read_bytes().decode() == text.replace("\n", ends)


def test_a_profile_without_a_dial_or_any_ablation_runs_in_the_pipeline(project):
    """DVC makes no stage of an empty list."""
    path = project / "params.yaml"
    path.write_text(re.sub(r"(?m)^  small: .*$", "  small: {variants: {uoisc: [tight]}}", path.read_text()))
    assert activate("small") == "active: small, with 0 ablations and 0 dials, writes results, paper"
    found = document(path)
    assert (found["ablations"], found["dials"], found["dialled"]) == ([], "", [])
    activate("smoke")
    assert document(path)["dialled"] == ["smoke"]


@pytest.mark.parametrize(
    ("profile", "files", "asked"),
    [
        ("small", [], {}),
        ("paper", [], {}),
        (
            "paper",
            ["v2_mscoco_val2014_annotations.json", "annotations/instances_val2014.json", "notes (1).json"],
            {
                "v2_mscoco_val2014_annotations": "v2_mscoco_val2014_annotations.json",
                "instances_val2014": "annotations/instances_val2014.json",
            },
        ),
    ],
)
def test_the_pipeline_watches_what_a_profile_s_questions_come_from(project, profile, files, asked):
    folder = "data/vqav2"
    for name in files:
        (project / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project / folder / name).write_text("{}")
    activate(profile)
    own = {name: f"{folder}/{file}" for name, file in asked.items()}
    assert document(project / "params.yaml")["asked"] == {"objects": "data/objects.csv"} | own
    if files:  # a folder anywhere
        path = project / "params.yaml"
        path.write_text(path.read_text().replace(f"folder: {folder} ", f"folder: {project / folder} "))
        activate(profile)
        found = {name: f"{project / folder}/{file}" for name, file in asked.items()}
        assert document(path)["asked"] == {"objects": "data/objects.csv"} | found


def test_the_pipeline_watches_a_manifest(project):
    path = project / "params.yaml"
    generated = "kind: vqav2, image_size: 352, folder: data/generated/vqav2, "
    mine = "kind: manifest, image_size: 352, file: data/mine/questions.jsonl, "
    text = (
        path.read_text().replace(generated, mine).replace("validation: human, questions: 1000, ", "validation: human, ")
    )
    path.write_text(text)
    for there in (False, True):
        activate("paper_smoke")
        assert ("manifest" in document(path)["asked"]) == there
        (project / "data/mine").mkdir(parents=True, exist_ok=True)
        (project / "data/mine/questions.jsonl").write_text("")
    assert document(path)["asked"]["manifest"] == "data/mine/questions.jsonl"


def test_a_profile_publishes_when_told_so(project):
    assert active_profile() == "small"
    activate("smoke", publish=True)
    assert active_profile() == "smoke", "a file that changes is read again"
    assert (paths("smoke").results, paths("small").results) == (project / "results", project / "build/small/results")
    assert document(project / "params.yaml")["results"] == "results"


def test_a_profile_that_states_a_seed_is_given_another(project):
    activate("seeds", seed=30)
    assert load_params("seeds", project / "params.yaml").seed == 30
    before = (project / "params.yaml").read_text()
    for profile, seed, says in (("small", 30, "state one at profiles.small.seed"), ("seeds", -1, "seed = -1: out of")):
        with pytest.raises(ConfigError, match=says):
            activate(profile, seed=seed)
    assert (project / "params.yaml").read_text() == before


def test_what_cannot_be_activated_changes_nothing(project, tmp_path, monkeypatch):
    path = project / "params.yaml"
    for text in ("dials: [", "dials: {a: 1}\n".join(LINES), "".join(line for line in LINES if "dials:" not in line)):
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            activate("smoke")
        assert "\n" not in str(caught.value) and path.read_text() == text
    path.write_text("".join(LINES))
    edit_yaml(path, {"active": ["smoke"]})
    own = path.read_text()
    path.write_text(
        own.replace("{uoisc: [tight, middle], no_alignment: [tight], no_llava", "{no_alignment: [tight], no_llava")
    )
    with pytest.raises(ConfigError, match="profile smoke lacks variants.uoisc, which all else is held against"):
        activate("smoke")
    edit_yaml(path, {"active": ["2024", "a"]})
    assert parse_yaml(path.read_text(), "")["active"] == ["2024", "a"]
    assert [file.name for file in project.iterdir() if "partial" in file.name] == []
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    with pytest.raises(ConfigError, match="run this in the project's top folder"):
        activate("smoke")
