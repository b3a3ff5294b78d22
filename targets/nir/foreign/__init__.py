"""NIR files that other tools wrote."""
