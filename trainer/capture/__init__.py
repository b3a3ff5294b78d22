"""From torch to the compiler's graph: modules, exported programs, other frameworks."""
