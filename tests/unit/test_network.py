"""The network against the plain layers it stands for."""

import torch
from torch import nn

from glyphq.vision.network import Architecture, Network


def test_what_pooling_leaves_out_is_not_missed() -> None:
    network = Network(Architecture((3, 4, 5), 6)).eval()
    plain = nn.Sequential(*network.features)
    plain[8] = nn.Conv2d(4, 5, kernel_size=3, padding=1, bias=False)
    plain[8].weight = network.features[8].weight
    pictures = torch.randint(0, 256, (7, 1, 28, 28), generator=torch.Generator().manual_seed(1)).float()
    torch.testing.assert_close(network.features(pictures), plain(pictures))
    assert plain[:9](pictures).shape == (7, 5, 7, 7)
    assert network.features[:9](pictures).shape == (7, 5, 6, 6)
