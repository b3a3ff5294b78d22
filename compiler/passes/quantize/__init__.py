"""From real numbers to integers: scales, rounding, calibration."""
