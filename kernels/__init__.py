"""Numerical kernels of Greensplit: arrays and scalars in, arrays and scalars out.

Nothing here knows a phase, an intersection or a file. Kernels never raise; where a result can't be had they
return infinity or an integer code, and the callers in ``signals`` turn that into words. All of them are
serial, release the GIL and take C-contiguous float64, so that one compiled version serves every caller.
"""
