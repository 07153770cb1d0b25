"""Schedules, samplers, processes and loggers around Lightning's trainer."""
