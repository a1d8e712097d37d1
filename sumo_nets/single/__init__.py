"""One signalised intersection with pedestrians: see README.md in this folder."""
