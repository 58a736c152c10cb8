"""New networks from good ones: one or two choices of a network of the front are drawn anew.

A network drawn at random is seldom a good one, and how it is trained is drawn with it. In the words of
evolution: a mutated network, inherited training.
"""

from typing import Any

import numpy as np

from sweep.search.continuation import crowding
from sweep.search.history import History
from sweep.search.space import SearchSpace

#: So many choices of the network are drawn anew, with equal chance.
CHANGES = (1, 2)


def neighbour(history: History, space: SearchSpace, rng: np.random.Generator) -> dict[str, Any] | None:
    """Return the parameters of a run of the front, or near it, but for choices of the network to draw anew.

    None while there is no such run, or where no network is searched.
    """
    points = history.near_front()
    if not points:
        return None
    room = crowding(history.losses(points))
    point = points[int(rng.choice(len(points), p=room / room.sum()))]
    params = history.trial(point.user_attrs.get("parent", point.number)).params
    choices = sorted(params.keys() & space.network_params())
    if not choices:
        return None
    changed = rng.choice(choices, size=min(int(rng.choice(CHANGES)), len(choices)), replace=False)
    return {name: value for name, value in params.items() if name not in changed}
