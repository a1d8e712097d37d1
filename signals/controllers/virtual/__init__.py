"""A virtual controller: a dual-ring engine with NTCIP 1202's objects in front, to test on and to simulate with."""
