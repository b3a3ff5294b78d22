"""The bundle: one folder with everything a hardware team needs."""
