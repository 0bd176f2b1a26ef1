"""The sweeper, the stack for one machine, the stand-in Razorpay, and helpers of all processes."""
