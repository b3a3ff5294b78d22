"""lava-dl's HDF5 network exchange (netx): sequential networks, written and read back."""

from purespike.targets.netx.emit import write_netx as write_netx
from purespike.targets.netx.errors import NetxError as NetxError
from purespike.targets.netx.errors import NetxFileError as NetxFileError
from purespike.targets.netx.read import read_netx as read_netx
