"""What an engineer takes to a meeting: phase diagrams of signals and time-space diagrams of corridors.

`album.draw_all` draws a whole network, `phases.phase_diagram` one signal, `timespace.time_space_diagram` one
corridor. `groups` says what is shown when, without drawing; `sheet` is the paper, `sketch` the small plan of
a stage. matplotlib is loaded when the first sheet is drawn, not before.
"""

from signals.diagrams.album import draw_all

__all__ = ["draw_all"]
