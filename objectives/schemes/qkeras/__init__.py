"""Scheme `qkeras`: students whose bitwidths are given, layer by layer, as those deployed at CMS.

QKeras and HGQ2 cannot be in one environment (`hgq2` brings a package `qkeras` of its own), so these
students are built and trained by a child interpreter of another environment:

    here                                     the child, which has qkeras-v3 and no HGQ2
    remote.py: Child, RemoteTrainer   <-->   child.py, trainer.py, student.py
    network.py: from weights to a `QuantizedNetwork`

Schedules, order of events, scores and harvest stay here and are those of HGQ students; what crosses
the border is JSON and arrays (`border.py`).
"""
