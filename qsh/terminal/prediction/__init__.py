"""The parts of predictive local echo; qsh/terminal/predictor.py is their front door."""
