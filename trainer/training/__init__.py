"""How a network is trained, kept, resumed, scanned and drawn."""
