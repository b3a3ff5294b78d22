"""The product's worker, with netx's network: worker.py MAIN NETFILE BIAS ...

The program gives the input frames, the names to record and the number of steps; every layer in
between is netx's own. BIAS is a file of what drives the neurons of the input layer, in place of
the input frames, or empty. lava-dl imports torchvision, OpenCV and more with its training half
(slayer), of which netx uses one function, for resonate-and-fire neurons: that half is stubbed.
"""

import importlib.util
import sys
import types


def load(path):
    """The module of the product's worker, bootstrapped as when it is run by its path."""
    spec = importlib.util.spec_from_file_location("worker_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.bootstrap()
    return module


def stub():
    """Stands for what netx imports and does not use here; using it fails."""

    def unused(*_arguments):
        raise NotImplementedError("resonate-and-fire neurons need lava-dl's slayer")

    torch = types.ModuleType("torch")
    torch.tensor, torch.is_tensor, torch.Tensor = unused, unused, type("Tensor", (), {})
    rf = types.ModuleType("lava.lib.dl.slayer.neuron.rf")
    rf.neuron_params = unused
    sys.modules["torch"] = torch
    for name in ("lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[rf.__name__] = rf


if __name__ == "__main__":
    _, main_path, network_path, bias_path, folder, scratch, parent = sys.argv
    main = load(main_path)
    stub()

    def build(program, program_folder, scratch_folder):
        """netx's network between the product's source and recorder."""
        import numpy
        from lava.lib.dl import netx

        from purespike.targets.lava.worker import build as builder

        entries = {p["name"]: p for p in program["processes"]}
        source = next(p for p in program["processes"] if p["kind"] == "source")
        layers = {*program["record"], *program["record_v"]}  # not relays, which netx does not need
        neurons = [n for n, p in entries.items() if p["kind"] == "lif" and n in layers]
        interval = entries[neurons[-1]]["reset_interval"] or 1
        network = netx.hdf5.Network(
            net_config=network_path,
            input_shape=tuple(int(n) for n in source["shape"]),
            reset_interval=interval,
            reset_offset=0 if bias_path else 1,
        )
        if bias_path:
            neurons = [source["name"], *neurons]
            network.in_layer.neuron.bias_mant.init = numpy.load(bias_path)
        assert len(network) == len(neurons), str(network)
        processes = {}
        if not bias_path:
            port = builder.make_source(source, program_folder, scratch_folder)
            processes = {source["name"]: port}
            port = port.s_out
            if len(port.shape) > 1 and len(network.inp.shape) == 1:
                port = port.transpose([2, 1, 0]).flatten()
            port.connect(network.inp)
        processes |= {
            name: layer.neuron for name, layer in zip(neurons, network.layers, strict=True)
        }
        processes[builder.RECORDER] = builder.record(program, processes, scratch_folder)
        return processes

    main.execute(folder, scratch, int(parent), build=build)
