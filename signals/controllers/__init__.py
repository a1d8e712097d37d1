"""Controllers on the street: the protocol they speak, the driver for NTCIP 1202 over SNMP, and a virtual unit."""
