"""Why a file cannot be read or written is said as it is, and folders are whole or not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uoisc.base.errors import CheckpointError, DataError
from uoisc.base.folders import (
    check_writable,
    is_there,
    readable,
    readable_folder,
    share,
    unreadable,
    written_aside,
    written_folder,
)

REMEDY = "run the stage again"


def as_nobody(code: str, *arguments: Path) -> str:
    """What a call says to a user without rights: `code` in a process of another user, one line of its error."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom uoisc.base.folders import *\nfrom uoisc.base.errors import *\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"a = [Path(p) for p in sys.argv[1:]]\ntry:\n    {code}\nexcept UoiscError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.strip()


@pytest.fixture
def others(tmp_path):
    """A folder that another user may enter, up to the root of all temporary files."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no users here")
def test_a_right_that_lacks_is_said_as_such_and_names_no_stage(others):
    (others / "mine").write_text("x")
    (others / "mine").chmod(0o600)
    (others / "closed").mkdir()
    (others / "closed" / "file").write_text("x")
    (others / "closed").chmod(0o700)
    said = r"cannot be read (Permission denied); ask its owner for it"
    for code, path in (
        ("readable(a[0], 'run the stage')", others / "mine"),
        ("readable(a[0], 'run the stage')", others / "closed" / "file"),
        ("is_there(a[0])", others / "closed" / "file"),
        ("readable_folder(a[0], 'run the stage')", others / "closed"),
        ("readable_folder(a[0], 'run the stage')", others),
    ):
        line = as_nobody(code, path)
        assert line.endswith(said) and "run the stage" not in line, (code, line)
    line = as_nobody("check_writable(a[0] / 'new')", others)
    assert "cannot be written (Permission denied); make room or give the right to write" in line


def test_a_missing_file_a_dangling_link_and_a_folder_are_told_apart(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    for name, said in (
        ("none", "none: not there; run"),
        ("link", "link: a link to what is not there; run"),
        ("file/below", "below: not there; run"),
        ("", r"cannot be read \(Is a directory\); run"),
    ):
        with pytest.raises(CheckpointError, match=said):
            readable(tmp_path / name, REMEDY, CheckpointError)
    assert readable(tmp_path / "file", REMEDY) == tmp_path / "file"
    assert is_there(tmp_path / "file") and not is_there(tmp_path / "link") and not is_there(tmp_path / "file" / "below")
    with pytest.raises(DataError, match="link: a link to what is not there"):
        readable_folder(tmp_path, REMEDY)


def test_no_line_holds_the_machines_folders():
    error = PermissionError(13, "Permission denied", "/elsewhere/data/x")
    assert "elsewhere" not in unreadable(Path("data/x"), error, REMEDY)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_get_the_rights_of_any_new_one(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").chmod(0o600)
        (tmp_path / "new").write_text("x")
        share(tmp_path / "a")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "new").stat().st_mode
    finally:
        os.umask(before)
    assert os.umask(before) == before


def test_a_place_that_takes_no_file_is_found_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"below: cannot be written \(Not a directory\)"):
        check_writable(tmp_path / "file" / "below")
    with pytest.raises(DataError, match="cannot be written"), written_folder(tmp_path / "file" / "below"):
        pytest.fail("was begun")
    check_writable(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_file_that_cannot_take_a_folders_place(tmp_path):
    (tmp_path / "table.csv").mkdir()
    refused = pytest.raises(DataError, match=r"table.csv: cannot be written \(Is a directory\)")
    with refused, written_aside(tmp_path / "table.csv") as aside:
        aside.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("before", ["folder", "file", "link", "nothing"])
def test_a_folder_takes_the_place_of_whatever_was_there(tmp_path, before):
    target = tmp_path / "target"
    if before == "folder":
        target.mkdir()
        (target / "old").write_text("x")
    elif before == "file":
        target.write_text("x")
    elif before == "link":
        target.symlink_to(tmp_path / "nowhere")
    with written_folder(target) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["target"] and [p.name for p in target.iterdir()] == ["new"]
