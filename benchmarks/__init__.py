"""One script per performance goal; `python -m benchmarks [--smoke] [names...]` runs them and writes one table.

A script is a module with `run(size: Size) -> list[Row]`. It asserts its own correctness before it
reports a figure: equal to the reference, nothing lost, nothing doubled. `harness.py` has the tools.
"""
