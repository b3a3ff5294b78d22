"""The product's worker, except that `soft_if` goes wrong: worker.py MAIN FAULT ARGUMENTS."""

import importlib.util
import os
import sys


def load(path):
    """The module of the product's worker, bootstrapped as when it is run by its path."""
    spec = importlib.util.spec_from_file_location("worker_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.bootstrap()
    return module


if __name__ == "__main__":
    _, path, fault, folder, scratch, parent = sys.argv
    main = load(path)
    sys.path[0] = os.path.dirname(os.path.abspath(__file__))

    def build(program, program_folder, scratch_folder):
        """The product's builder with one kind of process replaced."""
        from processes.faulty import Faulty

        from purespike.targets.lava.worker import build as builder

        def make_faulty(entry, _folder, _scratch):
            return Faulty(shape=entry["shape"], fault=fault, name=entry["name"])

        builder.MAKERS["soft_if"] = make_faulty
        if fault == "stderr":
            print("a last word", flush=True)
            os._exit(5)
        return builder.build(program, program_folder, scratch_folder)

    main.execute(folder, scratch, int(parent), build=build)
