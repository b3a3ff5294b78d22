"""report.html: one self-contained page, made from report.json and the golden spikes."""
