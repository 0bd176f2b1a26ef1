"""
Two other shops, to compare with: the checkout inside the request, and a plain Celery chain.

Written as a competent shop developer would write them, and nothing of ours in them: locks where
units are taken, timeouts on the gateway, indexes where rows are looked up, kept-alive connections.
They have no idempotency keys, no sweeper, no answer to a lost reply of the gateway, no timeline.
"""
