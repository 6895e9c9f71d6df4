"""YAML as DVC reads it, edited where a value stands; what is no YAML or no JSON is one line."""

import pytest
from dvc.utils.serialize import parse_yaml as parse_as_dvc

from uoisc.base.documents import comment, edit_yaml, nodes, parse_json, parse_yaml
from uoisc.base.errors import ConfigError

BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    "text",
    [
        *("[", "a: [", "2024-02-30", "0x_", "[" * 3000, "- " * 3000 + "x", "9" * 5000),
        *("!!python/object:os.system 1", "!foo 1", "!!binary x", "!!bool maybe", "a\0b", "{a: 1, a: 2}", "\ud800"),
        *("%YAML 9.9\n--- 1", "--- 1\n--- 2", "a: 'b", BOMB, "&a [*a]", "a: &a 1"),
    ],
)
def test_whatever_is_no_yaml_is_one_line(text):
    """What ruamel raises, what int(), date() and the stack raise within it, and anchors."""
    with pytest.raises(ConfigError, match="not YAML|no anchors") as caught:
        parse_yaml(text, "params.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", ["1e-3", "1e-05", "010", "0o10", "yes", "1_000", "1:30", "0x10", "1.0e-3", "2024-02-29"]
)
def test_values_are_read_as_dvc_reads_them(text):
    assert parse_yaml(f"a: {text}", "") == parse_as_dvc(f"a: {text}", "")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000, "{"])
def test_json_that_nests_too_deep_is_no_json(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "dials:\nb: 1  # c",
        "dials: >-\n  x\n\n# c\nb: 1",
        "dials: # c\nb: 1",
        "{dials: x, b: 1} # c",
        "dials:\n  'x' # c\nb: 1",
    ],
)
def test_a_value_is_replaced_in_whatever_form_it_stands(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    edit_yaml(tmp_path / "a.yaml", {"dials": "x+y"})
    after = (tmp_path / "a.yaml").read_text()
    assert parse_yaml(after, "") == {"dials": "x+y", "b": 1} and "# c" in after


def test_comments_are_found_beside_keys_and_values():
    text = 'a: "# no"  # one\nb:  # two\n  c: [1] # no\nd: {e: 1} # three\nf: 1\n# four\n'
    found = {key: comment(text, *pair) for key, pair in nodes(text, "").items()}
    assert found == {"a": "one", "b": "two", "d": "three", "f": ""}
