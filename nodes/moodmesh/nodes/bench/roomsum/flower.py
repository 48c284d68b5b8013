"""Flower's SecAgg+, timed by its own functions of client and server. A script on its own: `python flower.py n d missing`.

It runs under any Python that has `flwr` 1.41 and numpy, not necessarily the one of Moodmesh, whose versions of other packages
exclude Flower's. Prints one JSON object.
"""

from __future__ import annotations

import json
import random
import sys
import time
from importlib import import_module
from typing import Any

PARAMETERS = {3: (3, 2), 10: (10, 7), 30: (30, 20), 100: (21, 14), 1000: (51, 34)}
"""Shares (the client's own included) and threshold by people (room-mood §13)."""
CLIPPING, TARGET, MODULUS = 8.0, 1 << 22, 1 << 32
"""Flower's defaults."""


def main(n: int, d: int, missing: int) -> dict[str, Any]:
    """One sum. Of a ring much longer than a neighbourhood, a shorter one is measured: a client has no more to do there, and the
    time of the server is scaled up."""
    import numpy as np
    from flwr.common import ndarrays_to_parameters

    shares, threshold = PARAMETERS[n]
    ring = min(n, max(100, 2 * shares))
    gone = set(random.sample(range(ring), round(ring * missing / n)))
    while any(len(around(i, ring, shares) - gone) < threshold for i in range(ring)):
        gone = set(random.sample(range(ring), len(gone)))
    vectors = [np.random.uniform(-1, 1, d) for _ in range(ring)]
    states, sent, spent, answers, masked = clients(
        ring, shares, threshold, gone, [ndarrays_to_parameters([v]) for v in vectors]
    )
    found, server = served(ring, shares, threshold, gone, states, answers, masked)
    truth = np.mean([vectors[i] for i in range(ring) if i not in gone], axis=0)
    return {
        "client_ms": 1000 * spent, "server_ms": 1000 * server * n / ring, "up_bytes": sent,
        "right": bool(np.abs(found - truth).max() < 1e-4), "extrapolated": ring < n,
    }  # fmt: skip


def around(i: int, ring: int, shares: int) -> set[int]:
    """Whom a client shares with, itself included."""
    return {(i + step) % ring for step in range(-(shares // 2), shares // 2 + 1)}


def clients(ring: int, shares: int, threshold: int, gone: set[int], vectors: list[Any]) -> tuple[Any, int, float, Any, Any]:
    """All four stages of all clients: states, bytes and seconds of one on average, unmasking shares, masked vectors."""
    module = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    states = [module.SecAggPlusState() for _ in range(ring)]
    setup = {
        "sample_num": ring, "share_num": shares, "threshold": threshold, "clipping_range": CLIPPING, "target_range": TARGET,
        "mod_range": MODULUS, "max_weight": 1.0,
    }  # fmt: skip
    mark, sent = time.process_time(), 0
    for nid, state in enumerate(states):
        state.nid = nid
        sent += size(module._setup(state, setup))
    publics = [(state.pk1, state.pk2) for state in states]
    told = [module._share_keys(s, {str(j): publics[j] for j in sorted(around(i, ring, shares))}) for i, s in enumerate(states)]
    sent += sum(size(out) for out in told)
    boxes: list[dict[int, bytes]] = [{} for _ in states]
    for i, out in enumerate(told):
        for j, box in zip(out["dsts"], out["ctxts"], strict=True):
            boxes[j][i] = box
    early, late_sent, mark = (time.process_time() - mark) / ring, 0, time.process_time()
    masked, answers = {}, {}
    for i in set(range(ring)) - gone:
        configs = {"ctxts": list(boxes[i].values()), "srcs": list(boxes[i])}
        masked[i] = module._collect_masked_vectors(states[i], configs, 1, vectors[i])["masked_params"]
        near = around(i, ring, shares)
        answers[i] = module._unmask(states[i], {"active_nids": sorted(near - gone), "dead_nids": sorted(near & gone)})
        late_sent += sum(len(part) for part in masked[i]) + size(answers[i])
    late = (time.process_time() - mark) / len(masked)
    return states, round(sent / ring + late_sent / len(masked)), early + late, answers, masked


def served(ring: int, shares: int, threshold: int, gone: set[int], states: Any, answers: Any, masked: Any) -> tuple[Any, float]:
    """What Flower's server does with the masked vectors and the shares: the mean, and its seconds."""
    from flwr.common import bytes_to_ndarray
    from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
    from flwr.common.secure_aggregation.quantization import dequantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

    mark = time.process_time()
    total: Any = None
    for parts in masked.values():
        vector = [bytes_to_ndarray(part) for part in parts]
        total = vector if total is None else arithmetic.parameters_addition(total, vector)
    collected: dict[int, list[bytes]] = {i: [] for i in range(ring)}
    for answer in answers.values():
        for i, part in zip(answer["nids"], answer["shares"], strict=True):
            collected[i].append(part)
    shapes = arithmetic.get_parameters_shape(total)
    for i, parts in collected.items():
        secret = combine_shares(parts)  # of all that came, as Flower does
        if i not in gone:
            total = arithmetic.parameters_subtraction(total, pseudo_rand_gen(secret, MODULUS, shapes))
            continue
        for j in around(i, ring, shares) - {i} - gone:
            key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(states[j].pk1))
            mask = pseudo_rand_gen(key, MODULUS, shapes)
            combine = arithmetic.parameters_addition if i > j else arithmetic.parameters_subtraction
            total = combine(total, mask)
    factor, total = arithmetic.factor_extract(arithmetic.parameters_mod(total, MODULUS))
    mean = dequantize(total, CLIPPING, TARGET)[0]
    mean = (mean - (len(masked) - 1) * CLIPPING) * (TARGET / factor)
    return mean, time.process_time() - mark


def size(fields: dict[str, Any]) -> int:
    """The bytes of a message's fields, without what frames them; numbers have eight."""
    parts = [part for value in fields.values() for part in (value if isinstance(value, list) else [value])]
    return sum(len(part) if isinstance(part, bytes) else 8 for part in parts)


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:4]))))
