"""Garbage that is collected, and objects that are exempt."""

import gc
import subprocess
import sys
import weakref

import pytest

from dccc_lightning.common.garbage import lasting_imports


class Node:
    """An object that refers to itself."""

    def __init__(self):
        self.itself = self


def test_imported_modules_are_exempt_once_and_garbage_is_collected_again():
    code = """
import gc
from dccc_lightning.common.garbage import lasting_imports
with lasting_imports():
    assert not gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 1000 and gc.isenabled()
objects = [[] for _ in range(100)]
with lasting_imports():
    pass
assert gc.get_freeze_count() == frozen
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_made_later_is_collected_even_if_an_import_fails(monkeypatch):
    monkeypatch.setattr("dccc_lightning.common.garbage.gc.freeze", lambda: None)
    with pytest.raises(ImportError), lasting_imports():
        raise ImportError
    assert gc.isenabled()
    node = weakref.ref(Node())
    gc.collect()
    assert node() is None
