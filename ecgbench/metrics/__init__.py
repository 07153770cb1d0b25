"""Metric definitions, their table, and the statistics over records."""
