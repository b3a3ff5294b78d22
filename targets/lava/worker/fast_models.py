"""CPU models of Lava's own processes that give the same numbers many times faster.

Stock Lava calls scipy's `convolve2d` once for each pair of channels. `PyFastConv` gathers the
windows (im2col) and multiplies matrices in float64, which is exact: an accumulator stays far below
2**53. Stock `DelaySparse` sorts its synapses by delay again in every step; `PyFastDelaySparse`
does it once. Chosen through `exception_proc_model_map`: the processes themselves are Lava's.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv
from lava.proc.sparse.models import PyDelaySparseModelBitAcc
from lava.proc.sparse.process import DelaySparse


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFastConv(PyConvModelFixed):
    """Replaces the sum over the window; ports, buffer and 24-bit wrap are the stock model's."""

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.matrices = None

    def run_spk(self):
        """One time step: sends what the last step's input gave, then takes this step's."""
        if self.matrices is None:
            self.matrices = self.weight_matrices()
        self.a_out.send(self.a_buf)
        received = self.s_in.recv()
        if self.num_message_bits.item() == 0:
            received = received.astype(bool)
        self.a_buf = self.clamp_precision(self.convolve(received))

    def weight_matrices(self):
        """One (window, outputs) matrix a group; Lava convolves, so the kernel is turned round."""
        turned = self.weight[:, ::-1, ::-1, :].astype(np.float64)
        groups = np.split(turned, int(self.groups[0]))
        return [w.reshape(len(w), -1).T.copy() for w in groups]

    def convolve(self, frame):
        """The convolution of one frame (W, H, C), int32."""
        (kx, ky), (sx, sy), (px, py), (dx, dy) = (
            (int(pair[0]), int(pair[1]))
            for pair in (self.kernel_size, self.stride, self.padding, self.dilation)
        )
        padded = np.pad(frame.astype(np.float64), ((px, px), (py, py), (0, 0)))
        span = (dx * (kx - 1) + 1, dy * (ky - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(0, 1))
        windows = windows[::sx, ::sy, :, ::dx, ::dy].transpose(0, 1, 3, 4, 2)
        width, height = windows.shape[:2]
        parts = np.split(windows, len(self.matrices), axis=4)
        sums = [
            part.reshape(width * height, -1) @ matrix
            for part, matrix in zip(parts, self.matrices)  # noqa: B905 (one part a matrix)
        ]
        return np.concatenate(sums, axis=1).reshape(width, height, -1).astype(np.int32)


@implements(proc=DelaySparse, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFastDelaySparse(PyDelaySparseModelBitAcc):
    """Keeps the matrix that the stock model makes anew each step: here no weight ever changes."""

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.by_delay = None

    def calc_act(self, s_in):
        """The stock model's activations, (outputs, delays)."""
        slots = self.a_buff.shape[-1]
        if self.by_delay is None:
            self.by_delay = self.get_delay_wgts_mat(self.weights, self.delays, slots - 1).tocsr()
        return np.reshape(self.by_delay.dot(s_in), (slots, self.weights.shape[0])).T
