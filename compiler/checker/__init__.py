"""A second opinion on a NIR file: it shares no code with the compiler whose work it checks."""

from purespike.compiler.checker.inspect import Problem as Problem
from purespike.compiler.checker.inspect import Verdict as Verdict
from purespike.compiler.checker.inspect import inspect as inspect
from purespike.compiler.checker.statement import Statement as Statement
