"""Random networks by seed: what `helpers.random_graphs` offers is made here."""
