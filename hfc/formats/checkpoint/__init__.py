"""Checkpoint readers: files -> named tensors with formats; recipes -> weights."""

from hfc.formats.checkpoint.checkpoint import Checkpoint, open_checkpoint
from hfc.formats.checkpoint.evaluate import WeightData, evaluate
from hfc.formats.checkpoint.joined import joined
from hfc.formats.checkpoint.stored import TensorInfo

__all__ = ["Checkpoint", "TensorInfo", "WeightData", "evaluate", "joined", "open_checkpoint"]
