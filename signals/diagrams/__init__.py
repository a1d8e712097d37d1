"""What an engineer takes to a meeting: phase diagrams of signals and time-space diagrams of corridors.

`groups` and `timespace` hold the pure part (what is shown when), `sheet` the paper, `album` draws a whole
network. matplotlib is loaded when the first figure is drawn, not before.
"""
