"""The child process in which Lava runs: `python main.py FOLDER SCRATCH PARENT`.

Run by its path, with any Python that has Lava, numpy and scipy: the rest of purespike need not be
installed there. `python main.py --versions` prints what that Python has, as one line of JSON.

Exit code 0 means that `result.json` in SCRATCH says how it went, well or not; one above
`session.UNWRITTEN` that it could not be written, for which the log has no room either.
"""

import contextlib
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RESULT = "result.json"


def bootstrap():
    """Makes `purespike.targets.lava.worker` importable without the packages above it."""
    # A script's own folder comes first on the path; its file names must shadow nothing.
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        del sys.path[0]
    import types

    for name in ("purespike", "purespike.targets", "purespike.targets.lava"):
        package = types.ModuleType(name)
        package.__path__ = []
        sys.modules[name] = package
    sys.modules["purespike.targets.lava"].__path__ = [os.path.dirname(HERE)]
    from purespike.targets.lava.worker import deferred, shim

    shim.install()
    deferred.defer()


def versions():
    """What this Python has: versions, whether the shim is in force, or what is missing."""
    from importlib.metadata import version

    from purespike.targets.lava.worker import deferred, shim

    found = {"python": sys.version.split()[0], "executable": sys.executable, "missing": ""}
    try:
        deferred.without_fortran()
        import purespike.targets.lava.worker.build  # noqa: F401 (all that a run imports)

        found.update({name: version(name) for name in ("lava-nc", "numpy", "scipy")})
    except Exception as error:  # whatever an installation that does not fit raises
        found["missing"] = f"{type(error).__name__}: {error}"
    found["shim"] = shim.needed()
    return found


def execute(folder, scratch, parent, build=None):
    """Builds and runs the program; says how it went in `result.json`.

    Args:
        folder: The program's folder.
        scratch: Where recordings, progress and result go.
        parent: Id of the process that waits for the result.
        build: Makes the processes; by default what the program says.
    """
    from purespike.targets.lava.worker import deferred, session

    session.claim(os.getpid())
    session.die_with_parent()
    session.watch_parent(parent, scratch)  # before Lava, which takes seconds to load
    deferred.without_fortran()
    from purespike.targets.lava.worker import build as builder
    from purespike.targets.lava.worker import watchdog

    start = time.monotonic()
    try:
        program = builder.load(folder)
        processes = (build or builder.build)(program, folder, scratch)
        seconds = watchdog.run(processes, program["steps"], builder.run_config(program))
        result = {
            "seconds": seconds,
            "total_seconds": time.monotonic() - start,
            "processes": len(processes),
        }
    except Exception as error:
        import traceback

        cause = str(error)
        if not isinstance(error, watchdog.ActorFailure):
            cause = f"Lava could not run the program: {watchdog.one_line(error)}"
        result = {"error": cause, "trace": getattr(error, "trace", "") or traceback.format_exc()}
    partial = os.path.join(scratch, RESULT + ".partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(result, file)
        os.replace(partial, os.path.join(scratch, RESULT))
    except OSError as error:
        os._exit(session.UNWRITTEN + (error.errno or 0))
    with contextlib.suppress(OSError):  # the log may have no room
        sys.stdout.flush()
        sys.stderr.flush()
    session.wait_if_orphaned(parent)
    # Lava's exit handlers wait for actors that have failed; the parent removes what is left.
    os._exit(0)


if __name__ == "__main__":
    bootstrap()
    if sys.argv[1:] == ["--versions"]:
        print(json.dumps(versions()))
    else:
        execute(sys.argv[1], sys.argv[2], int(sys.argv[3]))
