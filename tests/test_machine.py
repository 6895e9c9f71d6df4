"""What is said of the machine, and of each stage's minutes."""

from uoisc.stages import machine


def test_minutes_are_noted_beside_a_run_and_printed_as_a_table(tmp_path):
    assert machine.minutes(tmp_path) == []
    machine.note(tmp_path / "05_ablations-dial", 90.04, 1, 2)
    machine.note(tmp_path / "03 to 05", 600.0, 9, 2)
    here = machine.described()
    where = f"{here['precision']}, {here['device']}"
    assert machine.minutes(tmp_path) == [
        "stage              minutes",
        f"03 to 05              10.0  {where}",
        f"05_ablations-dial      1.5  {where}",
        "all                   11.5",
    ]
    assert machine.records(tmp_path)["03 to 05"] == here | {"seconds": 600.0, "models": 9, "processes": 2}


def test_what_a_run_depends_on_names_precision_and_workers():
    about = machine.environment("small")
    lines = machine.as_lines(about)
    assert about["packages"]["torch"] == about["torch"] and about["seed"] == 0
    assert machine.described()["precision"] in ("bfloat16", "float32")
    assert machine.described()["precision"] in lines[2] and lines[2].endswith("processes side by side")
