"""What each target can say of what a network can hold: a table that was tried, cell by cell."""
