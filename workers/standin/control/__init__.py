"""
The control API under /_standin/, by which tests and developers change and read the stand-in.

The README of the stand-in lists the routes. It requires no key, and answers only this machine.
"""
