"""From the graph to Lava's processes, and when each of them sees what."""
