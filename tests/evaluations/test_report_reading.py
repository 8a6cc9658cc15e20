import pytest

from evaluations.report.reading import read_run
from fedpeft_secure.errors import RunDirectoryError


def test_reads_what_a_run_wrote(make_run, base_result):
    run = read_run(make_run())
    assert run.result == base_result
    assert [record.round for record in run.rounds] == list(range(1, 25))
    assert run.attempts == 24
    assert run.config.startswith("seed = 0")
    assert run.name == "run"


def test_infinite_budgets_survive_the_file(make_run, not_private):
    run = read_run(make_run(privacy=not_private))
    assert run.result.privacy == not_private
    assert run.rounds[0].epsilon_spent["client-0"] == float("inf")


def test_the_last_attempt_of_a_round_counts(make_run, records):
    failed = records[3].model_copy(update={"accuracy": None, "attempt": 0})
    run = read_run(make_run(records=(*records[:3], failed, *records[3:])))
    assert run.attempts == 25
    assert run.rounds == records


@pytest.mark.parametrize("name", ["result.json", "rounds.jsonl", "config.toml"])
def test_a_missing_file_says_how_to_finish(make_run, name):
    directory = make_run()
    (directory / name).unlink()
    with pytest.raises(RunDirectoryError, match=rf"no {name}.*--resume"):
        read_run(directory)


def test_not_a_directory(tmp_path):
    with pytest.raises(RunDirectoryError, match="not a directory"):
        read_run(tmp_path / "nothing")


def test_another_schema_is_one_line_that_names_the_field(make_run):
    directory = make_run()
    file = directory / "result.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(RunDirectoryError, match=r"result\.json does not fit this version \(schema: ") as caught:
        read_run(directory)
    assert "\n" not in str(caught.value)


def test_a_torn_line_is_named(make_run):
    directory = make_run()
    with (directory / "rounds.jsonl").open("a") as file:
        file.write('{"round": 25')
    with pytest.raises(RunDirectoryError, match=r"rounds\.jsonl, line 25"):
        read_run(directory)


def test_bytes_that_are_no_text(make_run):
    directory = make_run()
    (directory / "config.toml").write_bytes(b"\xff")
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        read_run(directory)
