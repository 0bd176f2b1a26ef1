"""
A Razorpay that runs on this machine, for development, tests and benchmarks.

Run it with `python -m workers.standin`; README.md beside this file says what it does.
It imports nothing of the shop.
"""
