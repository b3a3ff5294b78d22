"""The rules, what was measured against them, and the operation census."""
