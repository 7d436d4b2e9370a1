"""Options of Hydra on Python 3.14, whose argparse checks help texts."""

import argparse

import pytest
from hydra._internal.utils import get_args_parser

from dccc_lightning.cli.option_help import unchecked_objects


def test_hydra_declares_its_options():
    with unchecked_objects():  # Python 3.14 needs it
        assert get_args_parser().parse_args(["seed=1", "-m"]).multirun


def test_objects_are_accepted_as_help_and_wrong_strings_are_not(monkeypatch):
    if not hasattr(argparse._ActionsContainer, "_check_help"):

        def check(self, action):  # as Python 3.14 does
            try:
                action.help % {}
            except (TypeError, ValueError) as error:
                raise ValueError("badly formed help string") from error

        monkeypatch.setattr(argparse._ActionsContainer, "_check_help", check, raising=False)
    parser = argparse.ArgumentParser()
    lazy, wrong = (argparse.Action([], "x", help=text) for text in (object(), "%(x"))
    for action in (lazy, wrong):
        with pytest.raises(ValueError, match="badly formed"):
            parser._check_help(action)
    with unchecked_objects():
        parser._check_help(lazy)
        with pytest.raises(ValueError, match="badly formed"):
            parser._check_help(wrong)
    with pytest.raises(ValueError, match="badly formed"):
        parser._check_help(lazy)
