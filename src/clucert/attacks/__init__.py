"""Attacks on classifiers, smoothed or not: DeepWordBug, TextBugger, jailbreaks, and what became of them."""
