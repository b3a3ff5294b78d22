"""The tables of the report, each made once; `formats`, `page` and the terminal print them."""
