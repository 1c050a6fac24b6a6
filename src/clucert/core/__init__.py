"""The mathematics: standard library, numpy, scipy and regex only; no I/O, no clock, no global random state."""
