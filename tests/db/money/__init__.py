"""
The rules of the stateful money test, by who acts: buyers, banks, staff, and the world around them.

`world` has the state that all rules share, the workers, and how a history comes to rest.
"""
