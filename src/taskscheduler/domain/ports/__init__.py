"""What the core needs from the outside world. The docstrings are the specification.

The contract suites in ``taskscheduler.testing`` prove every adapter against them. Every method may
raise ``StoreUnavailable``; an operation that raised it may or may not have happened, and each
docstring says why repeating it is safe.
"""
