"""
A stand-in for Razorpay on this machine, for development, tests and benchmarks.

Run it with `python -m workers.standin`. README.md in this directory describes its behaviour. It
imports nothing of the shop.
"""
