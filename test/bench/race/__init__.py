"""The parts of test/bench/run: see there."""
