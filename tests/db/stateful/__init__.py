"""
The rules of the stateful money test, one module for each actor: buyers, gateway, staff, faults.

`base` has what all rules share and the end of a history; `workers` has the shop's workers.
"""
