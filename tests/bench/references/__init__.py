"""
Two reference shops: one does the checkout inside the request, one in a plain Celery chain.

They are written as a competent developer would write them, without code of Pakka: locks on stock,
timeouts on the gateway, indexes, kept-alive connections. They have no idempotency keys, no sweeper,
no recovery from a lost answer of the gateway, and no timeline.
"""
