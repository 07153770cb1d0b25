"""Pure signal processing: no data sets, no Lightning."""
