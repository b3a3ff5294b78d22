"""The parts of report.json, typed: every field is a key there, and the same bytes come out."""
