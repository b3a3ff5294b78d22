"""Every kind of NETWORK argument and of data, as something to compile."""
