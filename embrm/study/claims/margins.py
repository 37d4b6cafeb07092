"""The smallest effects of interest and other margins, stated before any result was seen.

An effect below them is too small to matter, and a claim about it is negligible where that is shown. Changing one is a
change of what the study asks, and needs its reason beside it.
"""

# Of gold, as a share of what the standard head gains from π_ref to its own peak (`Cells.gain`); of drops likewise.
GAIN = 0.1
ACCURACY = 0.01  # of pair accuracy
AUROC = 0.05
DROP = 0.05  # share of a curve's own gain whose loss still counts as none, in claims that gold "does not fall"
RIGHT = 0.02  # of the share of chosen responses that make no wrong statement (C22 to C24)
PRINCIPLE = 0.1  # of gold at 2 nats: a tenth of the 1.1 or so that the standard head gains there from fair annotators
CSI = 0.25  # share of the rise on hacked runs that still counts as staying low
ACCEPTED = 0.05  # of the share of changed texts that are accepted
WORST_OFF = 0.1  # of the gain of the population that gains least, in standard deviations of its utility in a pool
INFERRED = 0.8  # share of the accuracy of a head trained on labels that counts as recovering their reward
