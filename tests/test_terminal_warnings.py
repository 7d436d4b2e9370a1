"""Warnings that need no action are not shown."""

import warnings

import pytest

from dccc_lightning.cli import terminal_warnings


@pytest.fixture
def shown(capsys):
    """Return what a warning prints."""

    def warn(message, category):
        warnings.warn(message, category, stacklevel=1)
        return capsys.readouterr().err

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        terminal_warnings.quiet()
        yield warn


@pytest.mark.parametrize("number", [1, 32061])
def test_the_fork_of_a_worker_is_no_news(shown, number):
    message = f"This process (pid={number}) is multi-threaded, use of fork() may lead to deadlocks"
    assert shown(message, DeprecationWarning) == ""


def test_other_warnings_are_shown_in_one_line(shown):
    assert (
        shown("fork() of another kind 5017", UserWarning)
        == "warning: fork() of another kind 5017\n"
    )
