"""Runs a Lava network without waiting for ever.

Lava's own blocking run hangs, and prints nothing, when a process model raises, is killed or never
sends. Here the run does not block: the actors are looked at until the network has answered or one
of them has failed. What no actor shows (a deadlock) the parent process sees by the lack of
progress.
"""

import time

from lava.magma.core.run_conditions import RunSteps

POLL_SECONDS = 0.005
# A network keeps step, so a channel never holds more than two messages; Lava's default is 64 slots.
COMPILE = {"pypy_channel_size": 4}


class ActorFailure(Exception):
    """An operating-system process of the network failed.

    Args:
        cause: The reason in one line.
        trace: The traceback in that process, if there is one.
    """

    def __init__(self, cause, trace=""):
        super().__init__(cause)
        self.trace = trace


def run(processes, steps, config):
    """Runs the network for so many steps and stops it.

    Args:
        processes: Lava's processes by name, the recorder last. Lava runs what is connected with the
            process that starts: a source that no layer reads is not, all that is recorded is.
        steps: Number of time steps.
        config: Lava's run configuration.

    Returns:
        Seconds that the steps took, without building and stopping.

    Raises:
        ActorFailure: An actor raised or died.
    """
    recorder = list(processes.values())[-1]
    recorder.create_runtime(run_cfg=config, compile_config=COMPILE)
    runtime = recorder.runtime
    infrastructure = runtime._messaging_infrastructure
    # Lava starts its actors in the order of the builders, and the runtime service after them.
    names = [process.name for process in runtime._executable.proc_builders]
    start = time.monotonic()
    recorder.run(condition=RunSteps(num_steps=steps, blocking=False), run_cfg=config)
    while not all(port.probe() for port in runtime.service_to_runtime):
        check(infrastructure.actors, names)
        time.sleep(POLL_SECONDS)
    try:
        runtime.wait()
    except RuntimeError:  # it counts the exceptions and does not say which
        check(infrastructure.actors, names)
        raise
    seconds = time.monotonic() - start
    recorder.stop()
    return seconds


def one_line(error):
    """Type and text of an exception; Lava puts whole matrices into some of them."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:300] + " ..."


def check(actors, names):
    """Raises `ActorFailure` for the first actor that raised or died."""
    for index, actor in enumerate(actors):
        name = names[index] if index < len(names) else "Lava's runtime service"
        if actor.exception:
            error, trace = actor.exception
            raise ActorFailure(f"{name} failed: {one_line(error)}", trace)
    for index, actor in enumerate(actors):
        if not actor._is_done and not actor.is_alive():
            name = names[index] if index < len(names) else "Lava's runtime service"
            raise ActorFailure(f"the process of {name} died with exit code {actor.exitcode}")
