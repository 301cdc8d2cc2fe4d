"""Wrong arguments of every command: an error line that names the place, an exit code, and never a traceback."""

import pytest

from tests.app.test_cli import Cli, cli, elsewhere  # noqa: F401 (fixtures)


@pytest.mark.parametrize("group", [[], ["data"], ["plugin"]])
def test_group_without_arguments_prints_help_on_stdout(cli: Cli, group: list[str]) -> None:  # noqa: F811
    alone = cli(*group)
    asked = cli(*group, "--help")
    assert (alone.code, alone.err) == (2, "")
    assert (asked.code, asked.err) == (0, "")
    assert alone.out == asked.out


@pytest.mark.parametrize("command", ["run", "restore", "data check", "plugin new"])
def test_missing_argument_is_one_error_line_that_names_the_help(cli: Cli, command: str) -> None:  # noqa: F811
    said = cli(*command.split())
    assert (said.code, said.out) == (2, "")
    (line,) = said.errors
    assert line.endswith(f"{command} --help")
