"""Pure functions of arrays: intervals, paired differences, multiple comparisons, ratings."""
