"""The report: its data, its formats, its page."""
