"""params.yaml is read strictly: each wrong value is one line that names the key."""

from dataclasses import replace

import pytest
import tiny
import workplace
import yaml

from uoisc.config import PARAMS, load_params, paths
from uoisc.errors import ConfigError

DOCUMENT = yaml.safe_load(PARAMS.read_text())


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
        path.write_text(yaml.safe_dump({"profiles": {"small": small}}, sort_keys=False))
        return path

    return changed


def refused(path, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_params("small", path)
    assert "\n" not in str(caught.value)


def test_parameters_go_round(write):
    assert load_params("small", write("seed", 0)) == tiny.PARAMS
    assert load_params("small", write("seed", 7)).seed == 7


@pytest.mark.parametrize("profile", ["smoke", "small", "paper"])
def test_every_profile_loads(profile):
    params = load_params(profile)
    document = DOCUMENT["profiles"][profile]
    assert params.data.held_out == document["data"]["held_out"]
    assert params.codec.taps == tuple(document["codec"]["taps"])
    assert params.codec.rates["tight"].codes == document["codec"]["rates"]["tight"]["codes"]
    assert params.training.weights.pixel == document["training"]["weights"]["pixel"]


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


@pytest.mark.parametrize("key", ["tranining", "data.colour", "codec.rates.low.segment", "training.weights.gan"])
def test_unknown(write, key):
    refused(write(key, 1), rf"^profiles\.small\.{key}: unknown key, choose of ")


def test_a_switch_is_true_or_false(write):
    assert load_params("small", write("deterministic", False)).deterministic is False
    refused(write("deterministic", 1), r"^profiles\.small\.deterministic = 1: must be true or false$")


@pytest.mark.parametrize("key", ["seed", "codec", "foundation.clip.width", "training.weights.vq"])
def test_missing(write, key):
    refused(write(key, remove=True), rf"^profiles\.small\.{key}: missing")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("data.image_size", 31, "32 to 4096"),
        ("seed", -1, "0 to 2147483647"),
        ("training.learning_rate", 2.0, "1e-08 to 1.0"),
        ("training.learning_rate", float("nan"), "1e-08 to 1.0"),
        ("training.weights.intent", -0.5, "0 to 1000"),
        ("codec.rates.high.codes", 1, "2 to 65536"),
        ("codec.decoder_channels", [128, 4, 64, 32], "8 to 4096"),
    ],
)
def test_out_of_range(write, key, value, allowed):
    refused(write(key, value), rf"^profiles\.small\.{key}.* = .*: out of range \(allowed: {allowed}\)$")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("data.image_size", "96", "int"),
        ("data.image_size", 96.5, "int"),
        ("data.image_size", True, "int"),
        ("training.learning_rate", "1e-3", "float"),  # what YAML makes of 1e-3 without a dot
        ("data.held_out", ["animal"], "str"),
        ("codec", 3, "a mapping"),
        ("codec.taps", 3, "a list"),
        ("codec.taps", [], "a list with at least one entry"),
        ("codec.rates", {}, "a mapping with at least one entry"),
        ("variants.uoisc", "tight", "a list"),
    ],
)
def test_wrong_type(write, key, value, kind):
    refused(write(key, value), rf"^profiles\.small\.{key}.*: must be {kind}")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("codec.decoder_channels", [64, 32], "2 stages turn 6 tokens a side into 24 pixels, not data.image_size = 96"),
        ("codec.rates.low.segments", 5, "must divide codec.width = 16"),
        ("codec.rates.low.ranked_segments", 7, "must divide codec.width = 16"),
        ("codec.rates.low.ranked_tokens", 36, "must be 1 to 35"),
        ("codec.taps", [1, 3], "ascending block numbers from 0 to 2"),
        ("codec.taps", [2, 1], "ascending block numbers from 0 to 2"),
        ("codec.taps", [1, 1], "ascending block numbers from 0 to 2"),
        ("variants.uoisc", ["low", "narrow"], "no rate 'narrow', choose of low, high"),
        ("data.validation", "animal", "must not be data.held_out"),
        ("training.rounding_step", 4, "0 to training.phase1_steps = 3"),
        ("training.intent_step", 4, "0 to training.phase1_steps = 3"),
        ("codec.decoder_channels", [12, 16, 8, 8], "the first 2 must be multiples of 8"),
        ("codec.rates.low.ranked_background", 3, "must be 0 to ranked_segments = 2"),
        ("foundation.clip.width", 80, "must be a multiple of 32"),
        ("foundation.tower.text_width", 40, "must be a multiple of 32"),
        ("foundation.tower.patch_size", 16, "must be data.image_size / 3 = 32"),
        ("foundation.llava.heads", 3, "heads of an even width must make up foundation.llava.width = 64"),
        ("foundation.llava.width", 32, "must exceed foundation.tower.embed_dim = 32"),
        ("data.image_size", 64, "must be a multiple of 3 \\* foundation.clip.patch_size = 48"),
        ("codec.width", 18, "must be a multiple of 4"),
    ],
)
def test_impossible_combination(write, key, value, says):
    refused(write(key, value), rf"^{key}.*{says}")


def test_a_change_is_made_once_and_an_unknown_one_is_refused(write):
    path = write("seed", 0)
    changed = load_params("small", path, ("training.emphasis=4", "codec.rates.low.codes=8"))
    assert (changed.training.emphasis, changed.codec.rates["low"].codes) == (4.0, 8)
    assert replace(changed, training=tiny.PARAMS.training, codec=tiny.PARAMS.codec) == tiny.PARAMS
    for change in ("training.emphasis", "training.emphases=4", "emphasis=4", "seed.low=4", "training.emphasis="):
        with pytest.raises(ConfigError, match="give a change as key=value"):
            load_params("small", path, (change,))
    with pytest.raises(ConfigError, match="out of range"):
        load_params("small", path, ("training.emphasis=0",))


def test_one_codebook_must_not_grow_without_bound():
    codec = replace(tiny.PARAMS.codec, rates={"low": replace(tiny.PARAMS.codec.rates["low"], segments=4, codes=32)})
    with pytest.raises(ConfigError, match="variants.plain_vq: at rate 'low' its one codebook would hold 1048576 codes"):
        replace(tiny.PARAMS, codec=codec, variants={"plain_vq": ("low",)})


def test_profiles_share_no_map():
    """`dvc exp run -S` writes through one that two share: the other changes too, or takes the change back."""

    def maps(value, path: str):
        if isinstance(value, dict):
            yield id(value), path
            for key, part in value.items():
                yield from maps(part, f"{path}.{key}")

    profiles, first = yaml.safe_load(PARAMS.read_text())["profiles"], {}
    shared = [
        f"{path} is {first[own]}" for own, path in maps(profiles, "profiles") if first.setdefault(own, path) != path
    ]
    assert not shared


@pytest.mark.parametrize("kind", [["drawings"], {"a": 1}, None, True, "vqa"])
def test_kinds(write, kind):
    refused(write("data.kind", kind), "data.kind = .*: choose of drawings, vqav2, manifest")


def test_unknown_profile_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="no profile 'large' in params.yaml: choose of "):
        load_params("large")
    with pytest.raises(ConfigError, match="params.yaml: not found; restore it with"):
        load_params("small", tmp_path / "params.yaml")
    for text in (b"profiles: {small: [", b"profiles: {small: \xff}", b"profiles: {small: *none}"):
        (tmp_path / "params.yaml").write_bytes(text)
        refused(tmp_path / "params.yaml", "params.yaml: not YAML")
    for text in ("", "- a", "hello", "profiles:", "profiles: [small]"):
        (tmp_path / "params.yaml").write_text(text)
        refused(tmp_path / "params.yaml", "params.yaml: `profiles` must be a mapping")
    (tmp_path / "params.yaml").write_text("active: small\nprofiles: {small: {}}")
    refused(tmp_path / "params.yaml", "params.yaml: `active` must be a list")


def test_the_active_profile_alone_publishes():
    active, *_ = DOCUMENT["active"]
    assert paths(active).results == PARAMS.parent / "results"
    assert paths("other").results == PARAMS.parent / "build" / "other" / "results"
    assert paths("smoke").codec(2, "uoisc", "tight").parts[-4:] == ("codecs", "phase2", "uoisc", "tight.safetensors")


def test_a_key_that_is_changed_twice_and_a_rate_that_is_named_twice_are_refused(write):
    path = write("variants.uoisc", ["low", "low"])
    refused(path, r"variants.uoisc = \['low', 'low'\]: give each rate once")
    with pytest.raises(ConfigError, match="seed is changed 2 times: give each key once"):
        load_params("small", write("seed", 1), ("seed=1", "workers=1", "seed=2"))
