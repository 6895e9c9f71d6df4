"""Images to files and back through the functions behind the commands, on a tiny study."""

import io
import json
import os
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from test_bitstream import model

from uoisc.base.errors import ConfigError, DataError, QueryError
from uoisc.base.storage import save_tensors
from uoisc.base.terminal import QUIET
from uoisc.codec import Codec
from uoisc.data.objects import load_catalogue
from uoisc.link import header, transfer
from uoisc.link.bitstream import BitstreamError, SharedModel, fingerprint
from uoisc.link.header import as_lines, describe
from uoisc.link.transfer import Files
from uoisc.stages import asking

QUERY = "where is the hammer"


def described(file: str) -> list[str]:
    return as_lines(describe(file))


@pytest.fixture(autouse=True)
def study(monkeypatch):
    """The tiny study, whose every model is the tests' own at one fingerprint."""
    made = replace(tiny.study(), params=replace(tiny.PARAMS, variants={"uoisc": ("low", "high"), "dial": ("dial",)}))

    def shared(study, name: str, rate: str) -> SharedModel:
        return replace(model(name), packing=0)

    def opened(profile: str, judges: tuple[str, ...] = (), home=None):
        return replace(made, judges={name: made.judges[name] for name in judges})

    for module in (transfer, asking):
        monkeypatch.setattr(module, "open_codecs", opened)
    monkeypatch.setattr(transfer, "shared_model", shared)
    monkeypatch.setattr(transfer, "writer", lambda profile, fingerprint: model("dial"))
    return made


@pytest.fixture
def photo(tmp_path):
    """Writes an image of a mode and size; returns its path."""

    def write(mode: str = "RGB", size: tuple[int, int] = (50, 70), name: str = "photo.png") -> str:
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(tmp_path / name)
        return str(tmp_path / name)

    return write


def encode(images, output, query=QUERY, bits=None, compact=False, force=True, no_clobber=False, after=()) -> None:
    files = Files(images, str(output), force, no_clobber, [str(one) for one in after])
    transfer.encode(files, query, "small", "dial", bits, compact)


def decode(file, output, variant=None, bits=None, query=QUERY, force=True, after=()) -> None:
    sources = [str(one) for one in file] if isinstance(file, list) else [str(file)]
    files = Files(sources, str(output), force, after=[str(one) for one in after])
    transfer.decode(files, "small", variant, bits, query)


@pytest.mark.parametrize("compact", [False, True])
def test_files_about_one_picture_follow_one_another(photo, tmp_path, compact):
    one, two, three = (tmp_path / f"{name}.uoi" for name in ("one", "two", "three"))
    options = dict(bits=150.0, compact=compact)
    encode([photo()], one, **options)
    encode([photo()], two, "how many animals are there", **options, after=[one])
    encode([photo()], three, "what is at the centre", **options, after=[one, two])
    encode([photo()], tmp_path / "alone.uoi", "how many animals are there", **options)
    assert any("follows" in line for line in described(str(two)))
    read = dict(variant="dial", bits=150.0) if compact else {}
    drawn = []
    for file, before in ((one, []), (two, [one]), (three, [one, two])):
        decode(file, tmp_path / "out.png", after=before, **read)
        drawn.append((tmp_path / "out.png").read_bytes())
    assert len({*drawn}) == 3
    for file, before in ((two, []), (two, [tmp_path / "alone.uoi"]), (three, [two]), (three, [two, one]), (one, [two])):
        with pytest.raises(BitstreamError, match="follows|after another file"):
            decode(file, tmp_path / "no.png", after=before, **read)
    with pytest.raises(BitstreamError, match="one.uoi: of another form"):
        encode([photo()], tmp_path / "no.uoi", compact=not compact, after=[one])
    with pytest.raises(DataError, match="none.uoi: no such file"):
        encode([photo()], tmp_path / "no.uoi", compact=compact, after=[tmp_path / "none.uoi"])
    with pytest.raises(DataError, match="one.uoi: its own output would take its place"):
        encode([photo()], one, compact=compact, after=[one])
    assert not list(tmp_path.glob("no.*"))


def test_without_bits_a_file_is_sent_as_the_one_before(photo, tmp_path):
    encode([photo()], tmp_path / "one.uoi", bits=60.0)
    encode([photo()], tmp_path / "two.uoi", "how many animals are there", after=[tmp_path / "one.uoi"])
    same = [described(str(tmp_path / name))[2] for name in ("one.uoi", "two.uoi")]
    assert same[0] == same[1] and "of its rate dial" in same[0]


def test_another_picture_or_several_are_refused(photo, tmp_path, monkeypatch):
    encode([photo()], tmp_path / "one.uoi")
    with pytest.raises(ConfigError, match="--after: files are about one picture, give one image"):
        encode([photo(name="a.png"), photo(name="b.png")], tmp_path, after=[tmp_path / "one.uoi"])
    monkeypatch.setattr(transfer.bitstream, "SAME_PICTURE", 1.1)
    with pytest.raises(BitstreamError, match="another picture than that of --after: 100% of the indices held"):
        encode([photo()], tmp_path / "no.uoi", after=[tmp_path / "one.uoi"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_any_mode_comes_back_at_its_size(photo, tmp_path, mode, capsys):
    name = "photo.tiff" if mode == "CMYK" else "photo.png"
    encode([photo(mode, name=name)], tmp_path / "a.uoi")
    assert "50 x 70 pixels, resized to 96 x 96" in capsys.readouterr().err
    decode(tmp_path / "a.uoi", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (50, 70) and image.mode == "RGB"
    assert any("50 x 70 pixels, model 01020304" in line for line in described(str(tmp_path / "a.uoi")))


def test_words_that_the_stand_ins_do_not_know_are_named(photo, tmp_path, capsys):
    told = "never read, so that they mean nothing: "
    name = next(entry.name for entry in load_catalogue(tiny.PARAMS.data.objects) if entry.name.isalpha())
    asked = {f"where is the {name}": None, f"Where is the {name}?": None, "where is my yak": "my, yak"}
    for query, unknown in asked.items():
        encode([photo()], tmp_path / "a.uoi", query, bits=60.0)
        said = capsys.readouterr().err
        assert (f"{told}{unknown}\n" in said) if unknown else (told not in said), said
    found = asking.ask(photo(), f"Where is the {name}?", "small", "dial", None, None, False)
    assert f"{told}Where, {name}?\n" in capsys.readouterr().err
    assert "answer on the source" in asking.answers_as_text(found) and json.loads(json.dumps(found)) == found
    pretrained = replace(tiny.PARAMS, foundation=tiny.pretrained(tmp_path), data=tiny.vqav2(tmp_path / "vqav2"))
    transfer.tell_unknown(replace(tiny.study(), params=pretrained), "where is my yak")
    assert not capsys.readouterr().err


def test_the_compact_form_comes_back_at_the_codecs_size(photo, tmp_path):
    encode([photo()], tmp_path / "a.uoi", compact=True)
    decode(tmp_path / "a.uoi", tmp_path / "out.png", "dial")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (96, 96)
    assert "compact form" in described(str(tmp_path / "a.uoi"))[0]


def test_streams(photo, tmp_path, monkeypatch):
    class Stream:
        def __init__(self, data: bytes = b""):
            self.buffer = io.BytesIO(data)

    sent, drawn = Stream(), Stream()
    monkeypatch.setattr(sys, "stdin", Stream((tmp_path / photo()).read_bytes()))
    monkeypatch.setattr(sys, "stdout", sent)
    encode(["-"], "-")
    monkeypatch.setattr(sys, "stdin", Stream(sent.buffer.getvalue()))
    monkeypatch.setattr(sys, "stdout", drawn)
    decode("-", "-")
    assert Image.open(io.BytesIO(drawn.buffer.getvalue())).size == (50, 70)


def test_an_earlier_file_from_a_stream_serves_several(photo, tmp_path, monkeypatch):
    encode([photo()], tmp_path / "one.uoi", bits=150.0)
    for name, query in (("two", "how many animals are there"), ("three", "what is at the centre")):
        encode([photo()], tmp_path / f"{name}.uoi", query, bits=150.0, after=[tmp_path / "one.uoi"])
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((tmp_path / "one.uoi").read_bytes())))
    decode([tmp_path / "two.uoi", tmp_path / "three.uoi"], tmp_path / "out", after=["-"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"two.png", "three.png"}


def test_json_is_told_under_quiet_too(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(QUIET, "1")
    after = []
    for name in ("one", "two"):
        files = Files([photo()], str(tmp_path / f"{name}.uoi"), after=[*after])
        transfer.encode(files, QUERY, "small", "dial", 150.0, compact=False, as_json=True)
        told = json.loads(capsys.readouterr().err)
        assert told["bytes"] == (tmp_path / f"{name}.uoi").stat().st_size > told["payload_bytes"]
        assert (told["bits"] is None) == bool(after)
        after = [str(tmp_path / "one.uoi")]


def test_compact_files_open_their_model_once(photo, tmp_path, monkeypatch):
    files = [tmp_path / "a.uoi", tmp_path / "b.uoi"]
    for file in files:
        encode([photo()], file, compact=True, bits=150.0)
    (tmp_path / "out").mkdir()
    opened = []
    within = transfer.model_within
    monkeypatch.setattr(transfer, "model_within", lambda *wanted: opened.append(wanted) or within(*wanted))
    decode(files, tmp_path / "out", variant="dial", bits=150.0)
    assert len(opened) == 1


def test_several_images_want_a_folder_and_names_of_their_own(photo, tmp_path):
    images = [photo(name="a.png"), photo(name="b.png")]
    encode(images, tmp_path)
    assert {p.name for p in tmp_path.glob("*.uoi")} == {"a.uoi", "b.uoi"}
    with pytest.raises(DataError, match="need a folder"):
        encode(images, tmp_path / "c.uoi")
    with pytest.raises(DataError, match="a.uoi: two of the inputs would be written to this file"):
        encode([images[0], photo(name="a.bmp")], tmp_path)


def test_of_several_images_a_bad_one_is_left_out_and_counted(photo, tmp_path, capsys):
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 of 3 images were left out \(.*b.png\); the others are sent"):
        encode([photo(name="a.png"), str(tmp_path / "b.png"), photo(name="c.png")], tmp_path)
    assert {p.name for p in tmp_path.glob("*.uoi")} == {"a.uoi", "c.uoi"}
    assert "left out: " in capsys.readouterr().err
    with pytest.raises(DataError, match=r"2 of 2 images were left out \(.*x.png and 1 more\); none is sent"):
        encode([str(tmp_path / "x.png"), str(tmp_path / "y.png")], tmp_path)


def test_several_files_are_drawn_into_a_folder(photo, tmp_path, capsys):
    encode([photo(name="a.png"), photo(name="b.png")], tmp_path)
    (tmp_path / "broken.uoi").write_bytes(b"UOI")
    (tmp_path / "drawn").mkdir()
    with pytest.raises(DataError, match=r"1 of 3 files were left out \(.*broken.uoi\); the others are drawn"):
        decode([tmp_path / name for name in ("a.uoi", "broken.uoi", "b.uoi")], tmp_path / "drawn")
    assert {p.name for p in (tmp_path / "drawn").iterdir()} == {"a.png", "b.png"}
    assert f"left out: {tmp_path}/broken.uoi: 3 bytes are less than a header" in capsys.readouterr().err
    with pytest.raises(DataError, match="2 inputs need a folder"):
        decode([tmp_path / "a.uoi", tmp_path / "b.uoi"], tmp_path / "one.png")


@pytest.mark.parametrize("force", [False, True])
def test_no_command_destroys_what_it_reads(photo, tmp_path, force, study):
    name, before = photo(), (tmp_path / "photo.png").read_bytes()
    os.link(name, tmp_path / "hard.png")
    for output in (name, str(tmp_path / "hard.png")):
        with pytest.raises(DataError, match="photo.png: its own output would take its place"):
            asking.ask(name, QUERY, "small", "dial", None, output, force)
        with pytest.raises(DataError, match="photo.png: its own output would take its place"):
            encode([name], output, force=force)
    encode([name], tmp_path / "a.uoi")
    (tmp_path / "picture.png").symlink_to("a.uoi")
    with pytest.raises(DataError, match="a.uoi: its own output would take its place"):
        decode(tmp_path / "a.uoi", tmp_path / "picture.png", force=force)
    assert (tmp_path / "photo.png").read_bytes() == before
    describe(str(tmp_path / "a.uoi"))


def test_files_that_are_there_are_kept_replaced_or_skipped_as_told(photo, tmp_path, monkeypatch, capsys):
    images = [photo(name="a.png"), photo(name="b.png")]
    (tmp_path / "b.uoi").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "open_codecs", None)  # before any work
        with pytest.raises(DataError, match="b.uoi: exists; --force replaces it"):
            encode(images, tmp_path, force=False)
    assert not (tmp_path / "a.uoi").exists()
    encode(images, tmp_path, force=False, no_clobber=True)
    assert (tmp_path / "a.uoi").exists() and (tmp_path / "b.uoi").read_bytes() == b"old"
    assert "1 of 2 outputs exist and are left as they are" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "open_codecs", None)
        encode(images, tmp_path, force=False, no_clobber=True)
    encode(images, tmp_path, force=True)
    assert (tmp_path / "b.uoi").read_bytes() != b"old"
    with pytest.raises(ConfigError, match="--force replaces files and --no-clobber keeps them"):
        encode(images, tmp_path, force=True, no_clobber=True)


def test_a_picture_goes_to_what_is_no_plain_file_as_a_png(photo, tmp_path):
    encode([photo()], tmp_path / "a.uoi")
    decode(tmp_path / "a.uoi", "/dev/null", force=False)
    with (tmp_path / "archive").open("ab") as archive:
        archive.write(b"kept")
        archive.flush()
        decode(tmp_path / "a.uoi", f"/dev/fd/{archive.fileno()}", force=False)
    data = (tmp_path / "archive").read_bytes()
    assert data[:4] == b"kept" and Image.open(io.BytesIO(data[4:])).size == (50, 70)


@pytest.mark.parametrize(
    ("compact", "options", "error", "says"),
    [
        (False, dict(variant="dial"), BitstreamError, "a.uoi: says itself which model wrote it: leave --variant"),
        (False, dict(bits=100.0), ConfigError, "--bits: a file says it itself"),
        (False, dict(query=None), ConfigError, "this variant's receiver reads the query: give --query"),
        (True, dict(), BitstreamError, "a.uoi: the compact form does not say which model wrote it: give --variant"),
    ],
)
def test_an_option_that_would_not_be_read_is_refused_by_name(photo, tmp_path, compact, options, error, says):
    encode([photo()], tmp_path / "a.uoi", compact=compact)
    with pytest.raises(error, match=says):
        decode(tmp_path / "a.uoi", tmp_path / "out.png", **options)
    assert not (tmp_path / "out.png").exists()


def test_a_query_that_changes_nothing_is_told(photo, tmp_path, study, capsys):
    encode([photo()], tmp_path / "a.uoi")
    assert "same for any query" not in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "uses_query", lambda codec: False)
        encode([photo()], tmp_path / "a.uoi")
    assert "dial sends the same for any query" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["./no  image.png", "sub//no.png"])
def test_a_bad_image_is_named_as_it_was_typed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError) as caught:
        encode([name], "a.uoi")
    assert str(caught.value) == f"{name}: no such file"
    (tmp_path / name).write_text("no image")
    with pytest.raises(DataError) as caught:
        encode([name], "a.uoi")
    assert str(caught.value).startswith(f"{name}: not an image")


class TestWriter:
    """Whose model a file was written with is found among all profiles."""

    @pytest.fixture
    def trained(self, tmp_path, monkeypatch):
        """Two profiles of one variant each; makes the checkpoint, or the tables, of one."""
        monkeypatch.undo()
        params = replace(tiny.PARAMS, variants={"uoisc": ("low",)})

        def load(profile: str):
            if profile == "broken":
                raise ConfigError("profiles.broken: impossible")
            return params

        def place(profile: str) -> list[SimpleNamespace]:
            folder = tmp_path / profile
            return [SimpleNamespace(codec=lambda *_: folder / "codec", table=lambda *_: folder / "tables")]

        opened = []
        monkeypatch.setattr(transfer, "profile_names", lambda: ["broken", "first", "second"])
        monkeypatch.setattr(transfer, "load_params", load)
        monkeypatch.setattr(transfer, "homes", place)
        monkeypatch.setattr(transfer, "open_codecs", lambda profile, home: opened.append(profile))
        monkeypatch.setattr(transfer, "shared_model", lambda study, name, rate: model())

        def make(profile: str, *files: str) -> None:
            for file in files:
                save_tensors({"tensor": torch.zeros(1)}, tmp_path / profile / file, {"of": f"{file} of {profile}"})

        make.opened = opened
        make.fingerprint = lambda profile: fingerprint(tmp_path / profile / "codec", tmp_path / profile / "tables")
        return make

    def test_a_model_of_any_profile_is_found(self, trained, capsys):
        for profile in ("first", "second"):
            trained(profile, "codec", "tables")
        transfer.writer("first", trained.fingerprint("first"))
        transfer.writer("first", trained.fingerprint("second"))
        assert trained.opened == ["first", "second"]
        assert capsys.readouterr().err == "drawn by uoisc of profile second\n"

    def test_of_equal_models_that_of_the_profile_asked_for_draws(self, trained, tmp_path, capsys):
        trained("first", "codec", "tables")
        shutil.copytree(tmp_path / "first", tmp_path / "second")
        transfer.writer("second", trained.fingerprint("first"))
        assert trained.opened == ["second"] and not capsys.readouterr().err

    def test_missing_tables_are_told_with_the_command_that_makes_them(self, trained):
        trained("first", "codec", "tables")
        trained("second", "codec")
        with pytest.raises(BitstreamError, match="of profile second 1 lack .*run 08_rate --profile second"):
            transfer.writer("first", b"none")

    def test_where_nothing_is_trained_that_is_said(self, trained):
        with pytest.raises(BitstreamError, match="model 6e6f6e65, and none is trained here: run `make repro`"):
            transfer.writer("first", b"none")
        with pytest.raises(ConfigError, match="impossible"):
            transfer.writer("broken", b"none")


@pytest.mark.parametrize("output", ["", "none/", "photo.png"])
def test_an_output_that_is_unclear_or_would_destroy_the_image_is_refused(photo, tmp_path, monkeypatch, output):
    name = photo()
    before = (tmp_path / "photo.png").read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="-o: empty|no such folder|would take its place"):
        encode([name], output)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.png"] and (tmp_path / "photo.png").read_bytes() == before


def test_too_large_an_image_is_named(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(header, "MAX_PIXELS", 50 * 70 - 1)
    with pytest.raises(BitstreamError, match=r"photo.png: an image of 50 x 70 pixels: .* 3,499 in all"):
        encode([photo()], tmp_path / "a.uoi")


def test_an_empty_query_is_none_to_the_receiver_that_reads_it(photo, tmp_path):
    encode([photo()], tmp_path / "a.uoi")
    asked = []

    def draw(self, message, queries, known=None):
        asked.extend(queries)
        return torch.zeros(1, 3, 96, 96)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Codec, "decode", draw)
        with pytest.raises(ConfigError, match="give --query"):
            decode(tmp_path / "a.uoi", tmp_path / "o.png", query=None)
        decode(tmp_path / "a.uoi", tmp_path / "o.png", query="")
    assert asked == [""]


def test_closed_streams_are_named(photo, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        describe("-")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(DataError, match="standard output is closed"):
        encode([photo()], "-")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (dict(bits=float("nan")), ConfigError, "--bits nan: must be above 0"),
        (dict(bits=-1.0), ConfigError, "--bits -1: must be above 0"),
        (dict(query=" "), QueryError, "the query is empty"),
        (dict(bits=3.0), ConfigError, "3 bits are too few: the cheapest packing costs"),
    ],
)
def test_what_cannot_be_sent_leaves_no_file(photo, tmp_path, change, error, says):
    with pytest.raises(error, match=says):
        encode([photo()], tmp_path / "a.uoi", **change)
    assert not list(tmp_path.glob("*uoi*"))


def test_a_place_or_kind_that_cannot_be_written(photo, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder, make it first"):
        encode([photo()], tmp_path / "nowhere" / "a.uoi")
    encode([photo()], tmp_path / "a.uoi")
    with pytest.raises(DataError, match="no kind of image"):
        decode(tmp_path / "a.uoi", tmp_path / "out.abc")


def test_a_rate_is_the_dearest_that_fits(study, monkeypatch):
    chosen = []
    monkeypatch.setattr(transfer, "shared_model", lambda study, name, rate: chosen.append(rate) or model(name))
    cheap, dear = (study.build("uoisc", rate).bits for rate in ("low", "high"))
    for bits in (None, dear, dear - 1, cheap):
        transfer.model_within(study, "uoisc", bits)
    assert chosen == ["high", "high", "low", "low"]
    few, many = (tiny.codec("dial", bits=bits).bits for bits in tiny.PARAMS.codec.dial.budgets)
    assert transfer.model_within(study, "dial", None).codec.bits == many > few
    with pytest.raises(ConfigError, match="3 bits are too few for uoisc: its cheapest rate costs 288"):
        transfer.model_within(study, "uoisc", 3.0)
    with pytest.raises(ConfigError, match="no variant 'other' is trained: choose of uoisc, dial"):
        transfer.model_within(study, "other", None)


def test_any_budget_of_a_rate_dial(photo, tmp_path, capsys):
    sizes = []
    for bits in (60.0, 100.0, 200.0):
        encode([photo()], tmp_path / "a.uoi", bits=bits)
        sizes.append((tmp_path / "a.uoi").stat().st_size)
        decode(tmp_path / "a.uoi", tmp_path / "out.png")
        assert any("of its rate dial" in line for line in described(str(tmp_path / "a.uoi")))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
