"""A checkpoint to a container in another format: pieces of tensors stream through all cores into one file."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.base.knobs import knob
from hfc.base.whole_file import write_whole
from hfc.formats import READABLE, weight_format
from hfc.formats.checkpoint import Checkpoint, TensorInfo
from hfc.formats.checkpoint.container import GGUF, SOURCE
from hfc.formats.rotation import rotate, rotate_back
from hfc.quantize.policy import FormatChoice, choose
from hfc.quantize.treatment import UNTREATED, Treatment, Treatments
from hfc.quantize.writer import Planned, Writer, layout, partial_of

PIECE = 1 << 22  # elements that a thread takes at a time: 16 MB of f32 and some temporaries
FLUSH_BYTES = 1 << 28
SAFE = 1000  # below it every format holds every number, and every scale of 16 bits, rotated or not
FILE_NAME = "model.safetensors"

Update = Callable[[int, int], None]
# other encoders, by format: f32 [rows, K] -> uint8 [rows, row_bytes]
Packers = Mapping[str, Callable[[np.ndarray], np.ndarray]]
Put = Callable[[str, np.ndarray], None]  # name of a tensor, its packed rows


@dataclass(frozen=True)
class ConversionPlan:
    """What goes where. choices: by tensor name."""

    tensors: list[Planned]
    choices: dict[str, FormatChoice]
    header: bytes
    size: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * sum(t.nbytes for t in self.tensors) / sum(math.prod(t.shape) for t in self.tensors)


def plan(
    checkpoint: Checkpoint,
    target: str,
    keep: Sequence[tuple[str, str]] = (),
    packers: Packers | None = None,
    treatments: Treatments | None = None,
    method: str = "",
) -> ConversionPlan:
    """Format, size and place of every tensor. Refuses what cannot be read or packed before anything is written.

    method: how it is packed, for the file to tell."""
    can_pack = {*packable(), *(packers or ())}
    scaled = {name for name, treatment in (treatments or {}).items() if treatment.changes}
    if target not in can_pack:
        raise HfcError(f"hfc cannot quantize to {target}", hint="one of " + ", ".join(packable()))
    choices = {}
    for name in checkpoint.names():
        info = checkpoint.info(name)
        if info.format not in READABLE:
            raise HfcError(f"{checkpoint.path}: tensor {name!r} is stored as {info.format}, which hfc does not read")
        choice = choose(info, target, keep)
        if name in scaled and weight_format(choice.format).bits_per_weight == 16:
            choice = FormatChoice("f32", "scaled, which 16 bits would round")
        choices[name] = choice
        if choice.format != info.format and choice.format not in can_pack:
            raise HfcError(f"hfc cannot quantize to {choice.format}", hint="one of " + ", ".join(packable()))
    tensors = [_planned(checkpoint.info(name), choice) for name, choice in choices.items()]
    metadata = {
        SOURCE: json.dumps({"kind": checkpoint.kind, "name": checkpoint.path.name, "target": target, "method": method})
    }
    if checkpoint.kind == "gguf":
        metadata[GGUF] = json.dumps({k: _plain(v) for k, v in checkpoint.config.items()})
    header, placed, size = layout(tensors, metadata)
    return ConversionPlan(placed, choices, header, size)


def packable() -> list[str]:
    return sorted(name for name, form in READABLE.items() if form.encode or not form.quantized)


def _planned(info: TensorInfo, choice: FormatChoice) -> Planned:
    row_bytes = weight_format(choice.format).row_bytes(info.shape[-1] if info.shape else 1)
    return Planned(info.name, choice.format, info.shape, row_bytes * math.prod(info.shape[:-1]))


def _plain(value):
    """A metadata value as JSON has it."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def quantize(
    checkpoint: Checkpoint,
    made: ConversionPlan,
    folder: Path,
    update: Update = lambda done, total: None,
    packers: Packers | None = None,
    treatments: Treatments | None = None,
    first: Callable[[Put], None] | None = None,
    key: str = "",
) -> Path:
    """Write `made` into `folder`, with the files that a model needs beside its weights. An interrupted run is gone on with.

    first: packs some tensors itself, whole, before the others.  key: what treatments and packing were made of: a run with another
    starts anew."""
    path = folder / FILE_NAME
    if any(Path(file.path).resolve() == path.resolve() for file in checkpoint.files):
        raise HfcError(f"{path}: the source cannot be its own target", hint="give another folder with -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = Writer(path, made.header, made.size, _identity(checkpoint) + key)
        try:
            if first:
                first(_putter(checkpoint, made, writer))
            _convert_all(checkpoint, made, writer, update, packers or {}, treatments or {})
        except BaseException:
            writer.close()
            raise
        _copy_companions(checkpoint, folder)
        writer.finish()
    except OSError as error:
        raise HfcError(
            f"{error.filename or path}: cannot write the model: {error.strerror or error}",
            hint=f"what is done so far lies in {partial_of(path)}; with more space the same command goes on from there",
        ) from error
    return path


def _putter(checkpoint: Checkpoint, made: ConversionPlan, writer: Writer) -> Put:
    planned = {t.name: t for t in made.tensors}

    def put(name: str, raw: np.ndarray) -> None:
        """raw: uint8 [rows, row_bytes]"""
        tensor = planned[name]
        _check_range(checkpoint, tensor, None, raw, 0)
        for start, stop in _pieces(tensor):
            writer.write(_piece_name(tensor, start), tensor.offset + start * _row_bytes(tensor), raw[start:stop])
            writer.done.add(_piece_name(tensor, start))

    return put


def _identity(checkpoint: Checkpoint) -> str:
    """Changes when a source file does."""
    stats = [(str(f.path), f.path.stat()) for f in checkpoint.files]
    return json.dumps([(name, s.st_size, s.st_mtime_ns) for name, s in stats])


def _convert_all(
    checkpoint: Checkpoint,
    made: ConversionPlan,
    writer: Writer,
    update: Update,
    packers: Packers,
    treatments: Treatments,
) -> None:
    jobs = [(t, start, stop) for t in made.tensors for start, stop in _pieces(t)]
    weights = sum(math.prod(t.shape) for t in made.tensors)
    done = unflushed = 0
    running: dict[Future, tuple[Planned, int, int]] = {}
    with ThreadPoolExecutor(knob("HFC_JOBS")) as pool:
        try:
            for job in [*jobs, None]:
                # Few pieces wait for the disk, so memory stays small however large the tensors are.
                while running and (job is None or len(running) > knob("HFC_JOBS") + 1):
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        tensor, start, stop = running.pop(future)
                        data = future.result()
                        writer.write(_piece_name(tensor, start), tensor.offset + start * _row_bytes(tensor), data)
                        unflushed += data.nbytes
                        done += (stop - start) * _columns(tensor)
                        update(done, weights)
                if unflushed > FLUSH_BYTES:
                    writer.flush()
                    unflushed = 0
                if job is None:
                    break
                tensor, start, stop = job
                if _piece_name(tensor, start) in writer.done:
                    done += (stop - start) * _columns(tensor)
                    continue
                running[pool.submit(_convert, checkpoint, *job, packers, treatments.get(tensor.name, UNTREATED))] = job
        except BaseException:
            for future in running:
                future.cancel()
            raise


def _columns(tensor: Planned) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _row_bytes(tensor: Planned) -> int:
    return weight_format(tensor.format).row_bytes(_columns(tensor))


def _pieces(tensor: Planned) -> list[tuple[int, int]]:
    """Ranges of rows."""
    rows, step = math.prod(tensor.shape[:-1]), max(1, PIECE // _columns(tensor))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def _piece_name(tensor: Planned, start: int) -> str:
    return f"{tensor.name}@{start}"


def _convert(
    checkpoint: Checkpoint, tensor: Planned, start: int, stop: int, packers: Packers, treatment: Treatment = UNTREATED
) -> np.ndarray:
    """Rows start … stop of a tensor in their new format, uint8 [rows, row_bytes]."""
    info = checkpoint.info(tensor.name)
    raw = checkpoint.raw(tensor.name).reshape(-1, info.row_bytes)[start:stop]
    values = weight_format(info.format).unpack(raw)
    if not np.isfinite(values).all():
        row = start + int(np.argmin(np.isfinite(values).all(axis=1)))
        raise HfcError(
            f"{checkpoint.path}: tensor {tensor.name!r} has NaN or infinity in row {row}",
            hint="the checkpoint is damaged",
        )
    if tensor.format == info.format and not treatment.changes:
        return raw
    if weight_format(info.format).rotated:
        values = rotate_back(values)
    form, values = weight_format(tensor.format), treatment.apply(values, start)
    if tensor.format in packers:
        return packers[tensor.format](rotate(values) if form.rotated else values)
    packed = treatment.packed(form, values, start, tensor.shape[-2] if len(tensor.shape) > 1 else 1)
    _check_range(checkpoint, tensor, values, packed, start)
    return packed


def _check_range(
    checkpoint: Checkpoint, tensor: Planned, values: np.ndarray | None, packed: np.ndarray, start: int
) -> None:
    """Refuse a number that is too large for the format, or whose block's scale is: it would be stored as infinity.

    values: f32 [rows, K] that were packed, where they are at hand."""
    if values is not None and np.abs(values).max(initial=0) < SAFE:
        return
    with np.errstate(all="ignore"):
        good = np.isfinite(weight_format(tensor.format).unpack(packed)).all(axis=-1)
    if not good.all():
        row = int(np.argmin(good))
        largest = "a number" if values is None else f"{np.abs(values[row]).max():.6g}"
        raise HfcError(
            f"{checkpoint.path}: tensor {tensor.name!r} has {largest} in row {start + row}, which {tensor.format} cannot hold",
            hint=f"keep it as it is: --keep '{tensor.name}=source', or give it bf16 or f32",
        )


def _copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """config.json and the tokenizer of a Hugging Face model; a GGUF's are in the header."""
    if checkpoint.kind != "hf":
        return
    texts = {"config.json": json.dumps(dict(checkpoint.config), indent=2) + "\n", **checkpoint.texts}
    for name, text in texts.items():
        write_whole(folder / name, text.encode(), "a file of the model")
    for file in checkpoint.tokenizer_files:
        if file.resolve() != (folder / file.name).resolve():
            shutil.copyfile(file, folder / file.name)


def summary(made: ConversionPlan) -> Mapping[str, tuple[int, int]]:
    """format -> (tensors, bytes), the largest first."""
    found: dict[str, tuple[int, int]] = {}
    for t in made.tensors:
        count, nbytes = found.get(t.format, (0, 0))
        found[t.format] = count + 1, nbytes + t.nbytes
    return dict(sorted(found.items(), key=lambda row: -row[1][1]))
