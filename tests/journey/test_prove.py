"""The short form of the fault suite. `make prove LONG=1` is the long one."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from shop.addresses import REPOSITORY
from tests.support.process_settings import UNSET

MAX_SECONDS = 900  # on a busy machine; alone it takes about three minutes


def test_a_few_of_every_fault_lose_nothing():
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    seed = str(random.randrange(10**6))  # made here, so that a timeout shows it

    proof = subprocess.run(
        [sys.executable, "-m", "tests.prove", "--seed", seed],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MAX_SECONDS,
        check=False,
    )

    assert proof.returncode == 0, proof.stdout
