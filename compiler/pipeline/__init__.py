"""The passes in their order, run and held to their promises: Python's way to compile a graph."""

from purespike.compiler.pipeline.contract import REWRITES as REWRITES
from purespike.compiler.pipeline.contract import SAME as SAME
from purespike.compiler.pipeline.contract import Compiled as Compiled
from purespike.compiler.pipeline.contract import LedgerLine as LedgerLine
from purespike.compiler.pipeline.contract import Pass as Pass
from purespike.compiler.pipeline.contract import PassError as PassError
from purespike.compiler.pipeline.contract import Pipeline as Pipeline
from purespike.compiler.pipeline.contract import Promise as Promise
from purespike.compiler.pipeline.contract import close as close
from purespike.compiler.pipeline.dump import GraphDump as GraphDump
from purespike.compiler.pipeline.run import compile_graph as compile_graph
from purespike.compiler.pipeline.standard import host_split as host_split
from purespike.compiler.pipeline.standard import standard_pipeline as standard_pipeline
