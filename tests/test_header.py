"""What a .uoi file says of itself needs no model, and names the file."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from uoisc import cli
from uoisc.base.config import ROOT
from uoisc.base.errors import DataError
from uoisc.link.header import HEADER_BYTES, LARGEST, MAGIC, VERSION, BitstreamError, crc24, describe

HEAD = MAGIC + bytes([VERSION]) + bytes([1, 2, 3, 4]) + (50).to_bytes(2, "big") + (70).to_bytes(2, "big") + bytes([3])
FILE = HEAD + crc24(HEAD, b"payload") + b"payload"


def test_a_header_is_told_without_torch(tmp_path):
    (tmp_path / "a.uoi").write_bytes(FILE)
    code = (
        "import sys; from uoisc import cli; cli.app(['info', sys.argv[1]], standalone_mode=False); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, "a.uoi"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert lines == [
        f"{len(FILE)} bytes, 7 of them payload; version {VERSION}, self-describing form",
        "image of 50 x 70 pixels, model 01020304",
        "packing 3 of its rate dial",
        f"checksum {FILE[13:16].hex()}, by which a file that follows names it",
    ]
    assert not {"torch", "numpy", "pandas", "PIL", "uoisc.link.transfer"} & set(modules.split())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG", "no .uoi file"),
        (FILE[: HEADER_BYTES - 1], "less than a header"),
        (FILE[:-1], "the checksum does not fit"),
        (bytes(LARGEST + 1), "larger than any .uoi file"),
    ],
)
def test_a_broken_file_is_named_as_it_was_typed(tmp_path, monkeypatch, data, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a  b.uoi").write_bytes(data)
    with pytest.raises(BitstreamError, match=rf"^\./a  b\.uoi: .*{says}"):
        describe("./a  b.uoi")
    with pytest.raises(DataError, match=r"^\./absent\.uoi: no such file"):
        describe("./absent.uoi")


def test_what_a_file_says_is_one_object_for_programs(tmp_path):
    (tmp_path / "a.uoi").write_bytes(FILE)
    told = json.loads(CliRunner().invoke(cli.app, ["info", str(tmp_path / "a.uoi"), "--json"]).stdout)
    expected = {"bytes": len(FILE), "width": 50, "height": 70, "packing": 3, "model": "01020304", "after": None}
    assert {key: told[key] for key in expected} == expected and told["form"] == "self-describing"
