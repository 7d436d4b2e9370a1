"""Recognition of files that are not weights, with advice for error messages."""

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from dccc_lightning.errors import UserError

STATE_DICT = "torch.save(model.state_dict(), FILE)"
"""Code that writes a readable file."""

_HEAD = 512

_CANDIDATES = (
    "checkpoints/best.ckpt", "checkpoints/last.ckpt", "weights.pt", "model.safetensors",
    "pytorch_model.bin", "*.safetensors", "*.pth", "*.pt", "*.ckpt", "*.pth.tar", "*.bin",
)  # fmt: skip

_PAGE = (
    ", not weights: the address leads to a page that asks for a login or a confirmation, or to an "
    "error; download the file itself"
)
_CUT = "its end is missing; copy or download it again"
_DAMAGED = "its end is missing, or it is damaged; copy or download it again"
_UNKNOWN = (
    "it is damaged, or written neither by torch.save nor by safetensors; download it again, or let "
    f"{STATE_DICT} write it"
)
_IN_ITS_CODE = "in the code that wrote it"
_PICKLE, _PROTOCOL = b"\x80", b"\x02"
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""First number in files of torch.save that are not ZIP archives."""

_OTHER_FRAMEWORKS = (".onnx", ".pb", ".tflite", ".msgpack")
_UNPACK = "unpack it and give the file of weights in it"

_TEXTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    (
        (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<!--"),
        f"an HTML page{_PAGE}",
    ),
    ((b"<",), f"an XML page{_PAGE}"),
    (
        (b"version https://git-lfs",),
        "a Git LFS pointer, not the weights; run git lfs pull in its repository",
    ),
)

_BYTES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", f"a gzip archive; {_UNPACK} (tar xzf, or gunzip)"),
    (0, b"BZh", f"a bzip2 archive; {_UNPACK}"),
    (0, b"\xfd7zXZ\0", f"an xz archive; {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"a zstd archive; {_UNPACK}"),
    (0, b"7z\xbc\xaf", f"a 7z archive; {_UNPACK}"),
    (0, b"Rar!", f"a RAR archive; {_UNPACK}"),
    (257, b"ustar", f"a tar archive; {_UNPACK} (tar xf)"),
    (0, b"\x93NUMPY", "an array of NumPy, not a state dict; torch.save a dictionary of tensors"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes; give weights of PyTorch"),
    (0, b"GGUF", "a GGUF file; give weights of PyTorch"),
    (0, b"\x89PNG", "a PNG image, not weights"),
    (0, b"\xff\xd8\xff", "a JPEG image, not weights"),
    (0, b"%PDF", "a PDF document, not weights"),
)


def is_safetensors(path: Path) -> bool:
    """Return True if the file begins with a safetensors header: its length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def check_file(path: Path) -> None:
    """Check that a file of weights exists.

    Raises:
        UserError: The file does not exist, or is a folder.
    """
    named = " ".join(f"model.weights={path}".splitlines())
    if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises for names that are too long
        raise UserError(f"{named}: {describe_folder(path)}")
    if not os.path.isfile(path):  # noqa: PTH113
        raise UserError(f"{named}: no such file; pass imagenet, bundled, clip or a file")


def describe_folder(folder: Path) -> str:
    """Return an error message for a folder that suggests a file in it."""
    for pattern in _CANDIDATES:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return (
                f"a folder; give a file of weights, such as {' '.join(str(found[0]).splitlines())}"
            )
    return "a folder without a file of weights; give a file"


def describe_file(path: Path) -> str:
    """Return the kind of a file that torch and safetensors cannot read, and the remedy."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = [said for starts, said in _TEXTS if text.startswith(starts)]
    known += [said for place, magic, said in _BYTES if head[place:].startswith(magic)]
    if not head:
        known = ["an empty file; copy or download it again"]
    elif is_safetensors(path):
        known = [_DAMAGED]
    elif head.startswith(b"PK"):
        known = [_describe_zip(path)]
    elif head.startswith(_PICKLE):
        known = [_describe_pickle(head)]
    elif not known and _is_text(head):
        known = [_describe_text(path, head)]
    elif not known and path.suffix.lower() in _OTHER_FRAMEWORKS:
        known = [f"a network in another format ({path.suffix}); give weights of PyTorch"]
    return known[0] if known else _UNKNOWN


def _describe_pickle(head: bytes) -> str:
    if _TORCH_MAGIC not in head:
        return f"a pickle that torch.save did not write; {_IN_ITS_CODE}, {STATE_DICT}"
    if head[1:2] > _PROTOCOL:
        return (
            f"pickle protocol {head[1]}, which torch cannot read safely in full; "
            f"{_IN_ITS_CODE}, {STATE_DICT} without pickle_protocol"
        )
    return _DAMAGED


def _describe_text(path: Path, head: bytes) -> str:
    if not head.lstrip().startswith((b"{", b"[")):
        first = head.decode(errors="replace").strip().splitlines()[:1]
        return f"a text file, not weights: {few([repr(''.join(first)[:60])])}"
    if b'"weight_map"' in path.read_bytes():
        return "JSON text that lists the files of a model; give a file with all its weights"
    return "JSON text, not weights"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # unless the end cuts a character
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _describe_zip(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return _CUT
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            start = archive.open(pickles[0]).read(2) if pickles else b""
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, EOFError):
        return _DAMAGED
    if _has(names, "constants.pkl") and any("/code/" in name for name in names):
        said = "a TorchScript archive; torch.save(torch.jit.load(FILE).state_dict(), OTHER) writes "
        said += "its weights"
    elif pickles:
        said = _describe_pickle(start + _TORCH_MAGIC)
    elif _has(names, "archive_format") or _has(names, "serialized_exported_program.json"):
        said = "an exported program; give the checkpoint that it was made from"
    elif names and all(name.endswith(".npy") for name in names):
        said = "arrays of NumPy, not a state dict; torch.save a dictionary of tensors"
    else:
        said = f"a ZIP archive of {few(names) or 'nothing'}; {_UNPACK}"
    return said


def _has(names: Sequence[str], name: str) -> bool:
    return any(given.rpartition("/")[2] == name for given in names)


def few(names: Iterable[str], limit: int = 3) -> str:
    """Join the first ``limit`` names in one line and append the number of the others.

    >>> few(["a.B", "c.D"]), few("abcde")
    ('a.B, c.D', 'a, b, c and 2 more')
    """
    shown = ["".join(c if c.isprintable() else "?" for c in name)[:100] for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
