"""Where commands read and write: inputs survive, streams and devices are written to, files are replaced whole."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from uoisc.base.config import ROOT
from uoisc.base.errors import DataError
from uoisc.base.outputs import check_outputs, existing, is_plain, naming, opened, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own as the working directory, with a file `photo`, its hard link and a link to it."""
    monkeypatch.chdir(tmp_path)
    Path("photo").write_bytes(b"photo")
    os.link("photo", "hard")
    Path("soft").symlink_to("photo")
    Path("sub").mkdir()
    Path("sub/link").symlink_to("../soft")
    return tmp_path


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("output", ["photo", "./photo", "sub/../photo", "hard", "soft", "sub/link"])
def test_an_output_never_replaces_an_input(folder, output, force):
    with pytest.raises(DataError, match="^photo: its own output would take its place"):
        check_outputs([output], ["photo"], force)
    with pytest.raises(DataError, match="soft: its own output would take its place"):
        check_outputs(["other", output], ["absent", "soft"], force)


def test_an_input_is_known_by_the_stream_that_it_comes_through(folder):
    with open("photo", "rb") as file:
        for name in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            with pytest.raises(DataError, match="its own output would take its place"):
                check_outputs(["hard"], [name], force=True)
    with open("photo", "ab") as file, pytest.raises(DataError, match="^photo: its own output"):
        check_outputs([f"/dev/fd/{file.fileno()}"], ["photo"], force=True)


def test_another_file_is_replaced_with_force_alone(folder):
    Path("old").write_bytes(b"old")
    with pytest.raises(DataError, match="^./old: exists; --force replaces it"):
        check_outputs(["new", "./old"], ["photo"])
    with pytest.raises(DataError, match="^old: exists"):
        write(b"new", "old")
    assert Path("old").read_bytes() == b"old" and existing(["new", "old", "-", "/dev/null"]) == ["old"]
    check_outputs(["new", "old"], ["photo"], force=True)
    write(b"new", "old", force=True)
    assert Path("old").read_bytes() == b"new"


def test_two_inputs_never_write_one_file(folder):
    Path("sub/a").symlink_to("../target")
    Path("sub/b").symlink_to("../target")
    for pair in (["a", "./a"], ["sub/a", "sub/b"], ["photo", "photo"]):
        with pytest.raises(DataError, match="two of the inputs would be written to this file"):
            check_outputs(pair, ["x", "y"], force=True)
    check_outputs(["/dev/null", "/dev/null"], ["x", "y"])


def test_a_link_stays_and_its_target_is_written(folder):
    Path("link").symlink_to("target")
    write(b"new", "link")
    assert Path("link").is_symlink() and Path("target").read_bytes() == b"new"
    write(b"newer", "sub/link", force=True)
    assert Path("sub/link").is_symlink() and Path("soft").is_symlink() and Path("photo").read_bytes() == b"newer"
    assert Path("hard").read_bytes() == b"photo", "another name of the same file keeps what it had"


def test_a_pipe_a_device_and_a_socket_stay_what_they_are(folder):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    write(b"new", "pipe")
    reader.join(timeout=30)
    assert read == [b"new"] and Path("pipe").is_fifo()
    write(b"new", "/dev/null")
    assert Path("/dev/null").is_char_device() and not is_plain("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(DataError, match="socket: cannot be written"):
            write(b"new", "socket", force=True)
        assert Path("socket").is_socket()
    with pytest.raises(DataError, match="sub: a folder"):
        write(b"new", "sub", force=True)
    assert {p.name for p in folder.iterdir()} == {"photo", "hard", "soft", "sub", "pipe", "socket"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_device_is_one_line(folder):
    with pytest.raises(DataError, match="/dev/full: cannot be written .No space left"):
        write(b"new", "/dev/full")


STREAMED = """
import sys
from uoisc.base.outputs import opened, write
write(opened(sys.argv[1]).read(), sys.argv[2], force=True)
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev//stdout", "out"])
def test_standard_output_by_any_name_is_appended_to_as_the_shell_opened_it(folder, name):
    Path("out").symlink_to("/dev/stdout")
    Path("archive").write_bytes(b"kept ")
    with open("archive", "ab") as archive, open("photo", "rb") as photo:
        done = subprocess.run(
            [sys.executable, "-c", STREAMED, "/dev/stdin", name],
            stdin=photo,
            stdout=archive,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    assert Path("archive").read_bytes() == b"kept photo" and Path("out").is_symlink()


def test_any_open_stream_is_written_to_and_one_that_is_not_open_is_named(folder):
    with open("archive", "wb") as archive:
        archive.write(b"kept ")
        archive.flush()
        write(b"new", f"/dev/fd/{archive.fileno()}")
        write(b"er", f"/proc/{os.getpid()}/fd/{archive.fileno()}")
    assert Path("archive").read_bytes() == b"kept newer"
    with pytest.raises(DataError, match="/dev/fd/987: cannot be used"):
        write(b"new", "/dev/fd/987")


@pytest.mark.parametrize(
    ("name", "early"),
    [
        *(("file/x.png", "file: no such folder"), ("nowhere/x.png", "nowhere: no such folder")),
        *(("loop/x.png", "loop: no such folder"), ("astray", "astray: no such folder"), ("a" * 300, ""), ("loop", "")),
    ],
)
def test_a_place_that_takes_no_file_is_one_line(tmp_path, monkeypatch, name, early):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("loop").symlink_to("loop")
    Path("astray").symlink_to("gone/x.png")
    with pytest.raises(DataError, match=early) if early else nullcontext():
        check_outputs([name], [])
    with pytest.raises(DataError, match=f"^{name}: cannot be written") as caught:
        write(b"new", name)
    assert "\n" not in str(caught.value)
    write(b"new", "b" * 250)  # as long as a name may be, nearly
    assert {p.name[:4] for p in tmp_path.iterdir()} == {"file", "loop", "astr", "bbbb"}


@pytest.mark.parametrize(
    ("name", "says"), [("./absent", "no such file"), ("sub", "a folder"), ("photo/x", "cannot be read")]
)
def test_an_input_that_cannot_be_read_is_named_as_it_was_typed(folder, name, says):
    with pytest.raises(DataError, match=f"^{name}: {says}"):
        opened(name)


@pytest.mark.parametrize("said", ["a/b: bad", "./a//b: bad", "bad"])
def test_an_error_names_a_file_once_and_as_it_was_typed(said):
    with pytest.raises(DataError) as caught, naming("./a//b"):
        raise DataError(said)
    assert str(caught.value) == "./a//b: bad"
    with pytest.raises(DataError) as caught, naming("a\x1b[31m\nb"):
        raise DataError("bad")
    assert str(caught.value) == "a\\x1b[31m\\nb: bad"
