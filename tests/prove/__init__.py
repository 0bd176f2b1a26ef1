"""
The fault suite behind `make prove`: the shop keeps its promises while its parts fail.

    python -m tests.prove                 # a few of each fault, about three minutes
    python -m tests.prove --long          # hundreds of kills, ten thousand checkouts
    python -m tests.prove --seed 7 --only redis_flushed worker_killed

A run starts two of each real process. Simulated buyers use the public API, some of them for the
last unit of a product, while faults happen at random moments. Then the run waits until nothing is
left to do and compares three sides: what buyers were told, what the database says, and what money
the stand-in Razorpay has moved. The seed decides who buys what, and the order of the faults; it
cannot decide at which instruction a fault strikes. `required` lists what a run must reach.
"""
