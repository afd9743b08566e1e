"""The same network as an ordinary PyTorch loop; prints the seconds of one epoch. Run by ``mdn``, with PyTorch alone."""

from __future__ import annotations

import sys
import time

import torch
from torch import nn


def main() -> None:
    """Train and print."""
    rows, columns, hidden, components, batch, epochs, threads, bits = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind = torch.float32 if bits == 32 else torch.float64
    x = torch.randn(rows, columns, dtype=kind)
    y = torch.sin(x[:, 0]) * x[:, 1] + 0.3 * torch.randn(rows, dtype=kind)
    layers = nn.Linear(columns, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
    network = nn.Sequential(*layers, nn.Linear(hidden, 3 * components)).to(kind)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=1e-4)

    def epoch() -> None:
        order = torch.randperm(rows)
        for start in range(0, rows, batch):
            some = order[start : start + batch]
            logits, mu, log_sigma = network(x[some]).chunk(3, dim=1)
            z = (y[some, None] - mu) * torch.exp(-log_sigma)
            joint = torch.log_softmax(logits, dim=1) - log_sigma - 0.5 * z * z
            loss = -torch.logsumexp(joint, dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    epoch()
    began = time.perf_counter()
    for _ in range(epochs):
        epoch()
    sys.stdout.write(f"{(time.perf_counter() - began) / epochs}\n")


if __name__ == "__main__":
    main()
