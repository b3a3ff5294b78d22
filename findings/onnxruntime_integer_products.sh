#!/usr/bin/env bash
# onnxruntime_integer_products.sh: integer products are other numbers on processors without VNNI.
#
# Versions:  onnxruntime 1.31.1, onnx 1.23.2; processor: Haswell (AVX2, no VNNI), as qemu-x86_64 7.2 (user mode) runs it
# Behaviour: MatMulInteger, QLinearMatMul and QLinearConv of uint8 by int8 add products in pairs that saturate at 16 bits:
#            64 inputs of 200 by weights of 127 are 1,048,544 in place of 1,625,600, without a warning. Right while no
#            pair exceeds 16 bits (inputs up to 128); uint8 by uint8 is right, and so is ConvInteger of the same
#            types. With VNNI everything is right.
# Expected:  ONNX defines the result as exact in int32. ONNX Runtime's guide to quantization says that accuracy may suffer,
#            and to quantize weights to 7 bits there; the operators' specification leaves no such room.
# Why it matters: spikes (0 and 1) are safe. Counts above 128 are not: several levels a step, sums of spikes over time, analog
#            inputs of 8 bits. A test bench whose golden vectors are ONNX Runtime's then depends on who made them. Inputs above 128 want
#            weights stored as uint8 with a zero point of 128.
#
# Needs:     qemu-x86_64 (Debian: qemu-user). Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
command -v qemu-x86_64 >/dev/null || { echo "needs qemu-x86_64: apt-get install qemu-user"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy
cat > "$work/products.py" <<'PY'
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run(op, x, weight, more=()):
    """One operator, whose other inputs are constants."""
    constants = [numpy_helper.from_array(a, f"c{i}") for i, a in enumerate((weight, *more))]
    names = [c.name for c in constants]
    inputs = ["x", *names] if op.endswith("Integer") else ["x", *names[1:3], names[0], *names[3:]]
    kind = TensorProto.INT32 if op.endswith("Integer") else TensorProto.UINT8
    info = helper.make_tensor_value_info
    ends = info("x", TensorProto.UINT8, x.shape), info("y", kind, None)
    graph = helper.make_graph([helper.make_node(op, inputs, ["y"])], "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return int(session.run(None, {"x": x})[0].ravel()[0])


scale, u0, s0 = np.float32(1), np.uint8(0), np.int8(0)
coarse = np.float32(8192)  # 1,625,600 / 8,192 = 198
for hi in (1, 128, 200):
    x = np.full((4, 64), hi, np.uint8)
    w = np.full((64, 16), 127, np.int8)
    image, kernel = x[:1].reshape(1, 64, 1, 1), w.T.reshape(16, 64, 1, 1)
    found = {
        "MatMulInteger": run("MatMulInteger", x, w),
        "MatMulInteger, uint8 weights": run("MatMulInteger", x, w.astype(np.uint8)),
        "ConvInteger": run("ConvInteger", image, kernel),
        "QLinearMatMul": run("QLinearMatMul", x, w, (scale, u0, scale, s0, coarse, u0)),
        "QLinearConv": run("QLinearConv", image, kernel, (scale, u0, scale, s0, coarse, u0)),
    }
    exact = hi * 127 * 64
    for op, value in found.items():
        right = exact if "Integer" in op else min(255, round(exact / 8192))
        print(f"{hi} x 127, 64 times, {op}: {value}", "" if value == right else f"WRONG, {right}")
PY
echo "this processor:"
"$work/venv/bin/python" "$work/products.py"
echo "Haswell:"
python=$(readlink -f "$work/venv/bin/python")
site=$("$work/venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
PYTHONPATH=$site qemu-x86_64 -cpu Haswell-noTSX-IBRS "$python" "$work/products.py" 2>"$work/err" | tee "$work/seen"
wrong=$(grep -c WRONG "$work/seen" || true)
grep -q "^200 x 127, 64 times, MatMulInteger: 1048544 WRONG, 1625600$" "$work/seen" && [ "$wrong" = 3 ] \
  || { tail -n 3 "$work/err"; echo "changed: see the header for what was seen before"; exit 1; }
