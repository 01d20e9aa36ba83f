from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from osteon import __version__
from osteon.cli.app import COMMANDS, main
from osteon.errors import InputError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"osteon {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom osteon.cli.app import main\nmain(['--help'])\n"
        "print([m for m in ('numpy', 'pandas', 'pydantic', 'scipy', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_command_is_made_without_the_others() -> None:
    code = (
        "import sys\nfrom osteon.cli.app import main\nmain(['predict', '--help'])\n"
        "print(sorted(m for m in sys.modules if m in ('osteon.cli.predict', 'osteon.cli.train', 'osteon.cli.data')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['osteon.cli.predict']"


def test_one_command_is_the_same_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    from osteon.cli.app import COMMANDS, command_line

    whole = typer.main.get_command(command_line())
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        alone = capsys.readouterr().out
        with pytest.raises(SystemExit):
            whole([name, "--help"], prog_name="osteon")
        assert capsys.readouterr().out == alone != ""


def test_the_help_lists_the_commands_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = re.findall(r"^│ ([a-z][a-z-]*) ", capsys.readouterr().out, flags=re.MULTILINE)
    assert shown == list(COMMANDS)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [(["osteon", "pre"], {"predict"}), (["osteon", "data", ""], {"audit", "explore", "phantoms", "fetch", "moved"})],
)
def test_a_shell_completes_commands(typed: list[str], offered: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_OSTEON_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(typed))
    monkeypatch.setenv("COMP_CWORD", str(len(typed) - 1))
    done = subprocess.run([sys.executable, "-m", "osteon"], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_the_script_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--show-completion", "bash"])
    assert not ended.value.code
    assert "_OSTEON_COMPLETE=complete_bash" in capsys.readouterr().out


def test_every_command_has_an_example() -> None:
    import typer

    from osteon.cli.app import command_line

    def commands(group: object, path: str) -> list[tuple[str, str]]:
        found = []
        for name, command in getattr(group, "commands", {}).items():
            inner = commands(command, f"{path} {name}")
            found += inner or [(f"{path} {name}", command.help or "")]
        return found

    listed = commands(typer.main.get_command(command_line()), "osteon")
    assert len(listed) >= 8
    assert not [name for name, text in listed if "Example:" not in text]


@pytest.mark.parametrize("arguments", [["nonsense"], ["doctor", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nonsense" in captured.err


def test_errors_become_messages_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise InputError("no image in it", where="folder", hint="Name another")

    monkeypatch.setattr("osteon.cli.doctor.examine", fail)
    assert main(["doctor"]) == 3
    assert capsys.readouterr().err == "error: folder: no image in it\n       Name another\n"
    assert main(["doctor", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["where"] == "folder"


def test_an_interrupt_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("osteon.cli.doctor.examine", interrupt)
    assert main(["doctor"]) == 3
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["explain"], ["export"], ["data", "audit"]])
def test_a_path_that_cannot_be_looked_at_is_an_error_with_what_to_do(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As one in a folder that may not be entered, which nothing keeps the tests' user, root, from."""
    name = "x" * 300
    assert main([*command, name]) == 2
    assert f"{name}" in (said := capsys.readouterr().err)
    assert "cannot be opened: File name too long" in said
