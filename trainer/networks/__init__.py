"""The networks of the four papers by name, their operation counts, and what both are checked with.

:func:`purespike.trainer.networks.models.build_network` builds one.
"""
