"""
The control API, /_standin/: what a test or an operator does to the stand-in and sees of it.

The README of the stand-in lists the routes. No key is asked for; only this machine is answered.
"""
