"""Workers: each claims runs of a study, draws what they train, trains them, and stores what they gave."""
