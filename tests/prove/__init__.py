"""
The fault suite behind `make prove`: the promises of the shop, kept while its parts are taken away.

    python -m tests.prove                 # a few of each fault, about three minutes
    python -m tests.prove --long          # hundreds of kills, ten thousand checkouts
    python -m tests.prove --seed 7 --only redis_flushed worker_killed

It starts the real processes, two of everything, keeps buyers coming through the public API, some
of them for the last unit of a product, does harm at random moments, lets all come to rest, and
compares three sides: what the buyers were told, what the database says, and what money the
stand-in Razorpay has really moved. The seed decides who buys what and which harm is done in which
order; at which instruction it strikes, the machine. What a run has to come to, `named` says.
"""
