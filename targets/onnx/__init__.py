"""The integer golden model as ONNX."""

from purespike.targets.onnx.body import OnnxError as OnnxError
from purespike.targets.onnx.emit import sequence_model as sequence_model
from purespike.targets.onnx.emit import step_model as step_model
from purespike.targets.onnx.emit import write_onnx as write_onnx
from purespike.targets.onnx.inspect import float_tensors as float_tensors
from purespike.targets.onnx.inspect import operators as operators
from purespike.targets.onnx.qonnx import qonnx_model as qonnx_model
from purespike.targets.onnx.read import read_onnx as read_onnx
from purespike.targets.onnx.run import run_onnx as run_onnx
